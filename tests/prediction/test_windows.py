"""Band-wise sliding windows against MONAI's inferer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from medsemi.prediction.windows import WindowPlan, stream_bands, window_starts


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, 3, 3, padding=1)]
    return nn.Sequential(*layers).eval()


def collected(
    volume: Tensor, network: nn.Module, plan: WindowPlan, axis: int, **settings: object
) -> Tensor:
    """All bands joined; they must arrive in order and without a gap."""
    bands: list[Tensor] = []
    planes = 0

    def consume(first: int, scores: Tensor) -> None:
        nonlocal planes
        assert first == planes
        planes += scores.shape[axis + 1]
        bands.append(scores.clone())

    with torch.inference_mode():
        stream_bands(volume, network, plan, axis, consume, **settings)  # type: ignore[arg-type]
    return torch.cat(bands, dim=axis + 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize(
    ("shape", "window", "overlap"),
    [
        ((20, 17, 23), (8, 8, 8), 0.5),
        ((9, 21, 8), (8, 6, 10), 0.25),
        ((5, 6, 7), (8, 9, 10), 0.5),
        ((11, 12, 13), (11, 5, 4), 0.6),
        ((12, 12, 12), (6, 6, 6), 0.0),
        ((7, 16, 5), (8, 8, 8), 0.75),
    ],
)
def test_scores_equal_those_of_monai(
    network: nn.Module,
    shape: tuple[int, int, int],
    window: tuple[int, int, int],
    overlap: float,
    mode: str,
    axis: int,
) -> None:
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    plan = WindowPlan(window, (1, 1, 1), mode).with_overlap(overlap)
    inferer = SlidingWindowInferer(window, 1, overlap, mode, cval=0.0)
    with torch.inference_mode():
        expected = inferer(volume[None, None], network)
    assert isinstance(expected, Tensor)
    scores = collected(volume, network, plan, axis, batch=3)
    torch.testing.assert_close(scores, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "value"), [("constant", -2.0), ("reflect", 0.0)])
def test_padding_is_that_of_monai(network: nn.Module, mode: str, value: float) -> None:
    volume = torch.randn((6, 9, 7), generator=torch.Generator().manual_seed(1))
    plan = WindowPlan((8, 8, 10), (4, 4, 5), padding=mode, padding_value=value)
    inferer = SlidingWindowInferer((8, 8, 10), 1, 0.5, padding_mode=mode, cval=value)
    with torch.inference_mode():
        expected = inferer(volume[None, None], network)
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(
        collected(volume, network, plan, 2), expected[0], rtol=1e-5, atol=1e-5
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    window=st.tuples(*[st.integers(1, 20)] * 3),
    stride=st.tuples(*[st.integers(1, 20)] * 3),
)
def test_window_starts_are_those_of_monai(
    shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    padded = [max(n, w) for n, w in zip(shape, window, strict=True)]
    steps = [min(s, w) for s, w in zip(stride, window, strict=True)]
    corners = {tuple(part.start for part in w) for w in dense_patch_slices(padded, window, steps)}
    for axis in range(3):
        expected = sorted({corner[axis] for corner in corners})
        assert window_starts(shape[axis], window[axis], steps[axis]) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    window=st.tuples(*[st.integers(1, 9)] * 3),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 0.75]),
    axis=st.integers(0, 2),
    half=st.booleans(),
)
def test_the_average_of_a_copy_is_the_volume(
    shape: tuple[int, int, int],
    window: tuple[int, int, int],
    overlap: float,
    axis: int,
    half: bool,
) -> None:
    """Whatever the weights: windows that return themselves average to the volume."""
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(5))
    plan = WindowPlan(window, (1, 1, 1), "gaussian").with_overlap(overlap)
    dtype = torch.float16 if half else torch.float32
    scores = collected(volume, nn.Identity(), plan, axis, dtype=dtype)
    tolerance = 5e-3 if half else 1e-5
    torch.testing.assert_close(scores[0], volume, rtol=tolerance, atol=tolerance / 10)


def test_a_window_of_size_0_takes_the_whole_axis() -> None:
    plan = WindowPlan((4, 0, 4), (2, 1, 2))
    assert plan.window((9, 7, 9)) == (4, 7, 4)
    assert plan.count((8, 7, 8)) == 9
    volume = torch.rand((8, 7, 8))
    torch.testing.assert_close(collected(volume, nn.Identity(), plan, 1)[0], volume)


def test_finished_planes_leave_before_the_last_window_is_seen(network: nn.Module) -> None:
    """A band needs no memory of the volume: planes come while windows are still to be computed."""
    events: list[str] = []

    def predict(windows: Tensor) -> Tensor:
        events.append("window")
        return windows

    plan = WindowPlan((4, 4, 4), (2, 4, 4))
    stream_bands(torch.rand(12, 4, 4), predict, plan, 0, lambda first, _: events.append(str(first)))
    assert events == ["window", "0", "window", "2", "window", "4", "window", "6", "window", "8"]
