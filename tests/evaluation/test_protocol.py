"""Window inference equals the published one and fits into MONAI."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.evaluation.protocol import WindowInference, labels_from


class LocalNetwork(nn.Module):
    """The fixed network of the golden file: logits depend on the place inside the window."""

    def forward(self, x: Tensor) -> Tensor:
        axes = [torch.arange(n, dtype=torch.float64) for n in x.shape[2:]]
        i, j, k = torch.meshgrid(*axes, indexing="ij")
        waves = 0.5 * torch.sin(0.3 * i) + 0.4 * torch.cos(0.2 * j) - 0.3 * torch.sin(0.5 * k)
        foreground = (3 * (x.double() - 0.2) + waves).float()
        return torch.cat([torch.zeros_like(foreground), foreground], dim=1)


class Count(nn.Module):
    """Remembers the windows that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.windows += list(x)
        return torch.cat([x, -x], dim=1)


@pytest.mark.parametrize("name", ["larger", "smaller_in_two_axes", "exact_fit"])
@pytest.mark.parametrize("windows_per_batch", [1, 4])
def test_scores_and_labels_equal_the_published_ones(
    golden: Path, name: str, windows_per_batch: int
) -> None:
    with np.load(golden / "sliding_window_la.npz") as stored:
        *window, stride_xy, stride_z = stored[f"{name}/patch_stride"].tolist()
        volume = torch.from_numpy(stored[f"{name}/volume"]).float()[None, None]
        score, label = stored[f"{name}/score"], stored[f"{name}/label"]
    strides = (stride_xy, stride_xy, stride_z)
    inference = WindowInference(window, strides, windows_per_batch=windows_per_batch)
    probabilities = inference(volume, LocalNetwork())
    assert probabilities.shape == (1, 2, *score.shape)
    np.testing.assert_allclose(probabilities[0, 1], score, atol=1e-5, rtol=0)
    sure = np.abs(score - 0.5) > 1e-5
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(labels_from(probabilities)[0].numpy()[sure], label[sure])


def test_geometry_of_the_left_atrium_equals_the_published_one(golden: Path) -> None:
    with np.load(golden / "sliding_window_la.npz") as stored:
        *window, stride_xy, stride_z = stored["la_geometry/patch_stride"].tolist()
        shape = stored["la_geometry/shape"].tolist()
        mean, foreground, *corners = stored["la_geometry/score_checks"].tolist()
    x, y, z = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    volume = (((x + y + z) % 17) / 17 - 0.4)[None, None]
    inference = WindowInference(window, (stride_xy, stride_xy, stride_z))
    score = inference(volume, LocalNetwork())[0, 1]
    assert score.double().mean().item() == pytest.approx(mean, abs=1e-5)
    assert int((score > 0.5).sum()) == pytest.approx(foreground, abs=5)
    places = [(0, 0, 0), (58, 56, 44), (116, 111, 87)]
    assert [score[place].item() for place in places] == pytest.approx(corners, abs=1e-5)


def test_windows_start_where_the_published_ones_do(golden: Path) -> None:
    with np.load(golden / "sliding_window_la.npz") as stored:
        cases = json.loads(str(stored["starts_json"]))
    for name, starts in cases.items():
        length, window, stride = (int(part[1:]) for part in name.split("_"))
        network = Count()
        ramp = torch.arange(float(length)).view(1, 1, length, 1)
        WindowInference((window, 1), (stride, 1))(ramp, network)
        assert [int(seen[0, 0, 0]) for seen in network.windows] == starts


@settings(deadline=None, max_examples=40)
@given(window=st.integers(1, 130), shorter=st.integers(0, 129), longer=st.integers(0, 130))
@example(window=96, shorter=80, longer=100)  # 96 * (1 - (1 - 16 / 96)) is less than 16
def test_stride_is_kept_to_the_voxel_and_nothing_is_left_out(
    window: int, shorter: int, longer: int
) -> None:
    stride, length = max(window - shorter, 1), window + longer
    network = Count()
    ramp = torch.arange(float(length)).view(1, 1, length, 1)
    WindowInference((window, 1), (stride, 1))(ramp, network)
    starts = [int(seen[0, 0, 0]) for seen in network.windows]
    last = length - window
    assert starts == [min(n * stride, last) for n in range(-(-last // stride) + 1)]


@pytest.mark.parametrize("average", ["probability", "logits"])
@pytest.mark.parametrize("weighting", ["constant", "gaussian"])
def test_result_is_probabilities_in_the_size_of_the_volume(average: str, weighting: str) -> None:
    inference = WindowInference((8, 8, 4), average=average, weighting=weighting)  # type: ignore[arg-type]
    volume = torch.randn(2, 1, 13, 6, 9, generator=torch.Generator().manual_seed(0))
    probabilities = inference(volume, LocalNetwork())
    assert probabilities.shape == (2, 2, 13, 6, 9)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 13, 6, 9))


def test_averages_differ_as_their_names_say() -> None:
    class Place(nn.Module):
        """Logit 0 in the first half of a window and 4 in the second."""

        def forward(self, x: Tensor) -> Tensor:
            half = x.shape[2] // 2
            logit = torch.zeros_like(x)
            logit[:, :, half:] = 4.0
            return torch.cat([torch.zeros_like(x), logit], dim=1)

    volume = torch.zeros(1, 1, 12, 1)
    both = {
        average: WindowInference((8, 1), (4, 1), average=average)(volume, Place())[0, 1, 4, 0]  # type: ignore[arg-type]
        for average in ("probability", "logits")
    }
    sigmoid = torch.sigmoid(torch.tensor([0.0, 4.0]))
    assert both["probability"].item() == pytest.approx(sigmoid.mean().item())
    assert both["logits"].item() == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())


def test_half_precision_logits_are_averaged_in_single_precision() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, -x], dim=1).bfloat16()

    probabilities = WindowInference((4, 4), (1, 1))(torch.randn(1, 1, 9, 9), Half())
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 9, 9))


def test_metadata_survive() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))
    volume = MetaTensor(torch.randn(1, 1, 9, 9, 9), affine=affine)
    for average in ("probability", "logits"):
        result = WindowInference((8, 8, 8), average=average)(volume, LocalNetwork())  # type: ignore[arg-type]
        assert isinstance(result, MetaTensor)
        torch.testing.assert_close(result.affine, volume.affine)


def test_serves_a_monai_evaluator() -> None:
    volume = torch.randn(1, 1, 9, 9, 9, generator=torch.Generator().manual_seed(1))
    inference = WindowInference((8, 8, 8))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": volume}],
        network=LocalNetwork(),
        inferer=inference,
        decollate=False,
    )
    evaluator.run()
    torch.testing.assert_close(evaluator.state.output["pred"], inference(volume, LocalNetwork()))


def test_a_network_that_returns_more_than_logits_is_named() -> None:
    with pytest.raises(TypeError, match="return logits only"):
        WindowInference((4, 4), average="logits")(torch.zeros(1, 1, 4, 4), lambda x: (x, x))


def test_a_tie_is_background() -> None:
    probabilities = torch.tensor([[[0.5, 0.4, 0.6], [0.5, 0.6, 0.4]]])
    assert labels_from(probabilities).tolist() == [[0, 1, 0]]
    assert labels_from(probabilities).dtype == torch.uint8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stride": (4,)}, "stride is"),
        ({"stride": (0, 4)}, "stride is"),
        ({"stride": (9, 4)}, "stride is"),
        ({"average": "votes"}, "average is 'votes'"),
        ({"weighting": "linear"}, "weighting is 'linear'"),
    ],
)
def test_arguments_that_contradict_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WindowInference((8, 8), **arguments)  # type: ignore[arg-type]
