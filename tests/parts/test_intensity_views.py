"""Strong views: each change by hand, within its range, in place, at any scale."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medsemi.parts.intensity_views import IntensityDraw, IntensityViews

NOTHING = IntensityDraw((1.0,), (0.0,), (1.0,), (0.0,), (0.0,), (0,))


def image(axes: int = 2, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 1, *(8,) * axes, generator=torch.Generator().manual_seed(2))


def view(**changes: tuple[float, ...]) -> torch.Tensor:
    return IntensityViews().apply(image(), dataclasses.replace(NOTHING, **changes))


def test_nothing_drawn_is_nothing_changed() -> None:
    torch.testing.assert_close(view(), image())


def test_each_change_by_hand() -> None:
    x = image()
    mean, deviation = x.mean(), x.std(correction=0)
    torch.testing.assert_close(view(contrast=(0.5,)), mean + 0.5 * (x - mean))
    torch.testing.assert_close(view(brightness=(0.3,)), x + 0.3 * deviation)
    bright = view(gamma=(0.7,))
    torch.testing.assert_close(torch.stack(bright.aminmax()), torch.stack(x.aminmax()))
    inside = (x > x.min()) & (x < x.max())
    assert (bright[inside] > x[inside]).all()
    assert view(blur=(1.0,)).std() < 0.6 * x.std()
    assert (view(noise=(0.1,)) - x).abs().max() <= 0.2 * deviation * 1.001


@pytest.mark.parametrize("axes", [2, 3])
def test_a_view_does_not_depend_on_gain_and_offset(axes: int) -> None:
    views, x = IntensityViews(jitter=1.0, blurred=1.0, noisy=1.0), image(axes, count=3)
    draw = views.draw(3, torch.Generator().manual_seed(4))
    expected = 50.0 * views.apply(x, draw) + 1000.0
    torch.testing.assert_close(views.apply(50.0 * x + 1000.0, draw), expected, rtol=1e-3, atol=0.1)


def test_draws_keep_their_ranges_and_probabilities() -> None:
    draw = IntensityViews().draw(2000, torch.Generator().manual_seed(1))
    changed = [c for c in draw.contrast if c != 1.0]
    assert len(changed) / 2000 == pytest.approx(0.8, abs=0.04)
    assert min(changed) >= 0.5
    assert max(changed) <= 1.5
    assert sum(b > 0 for b in draw.blur) / 2000 == pytest.approx(0.5, abs=0.04)
    assert max(draw.blur) <= 2.0


@pytest.mark.parametrize(
    ("name", "otherwise", "low", "high"),
    [
        ("contrast", 1.0, 0.5, 1.5),
        ("brightness", 0.0, -0.5, 0.5),
        ("gamma", 1.0, 0.7, 1.5),
        ("blur", 0.0, 0.1, 2.0),
        ("noise", 0.0, 0.0, 0.1),
    ],
)
def test_every_range_is_used_to_its_ends(
    name: str, otherwise: float, low: float, high: float
) -> None:
    draw = IntensityViews().draw(4000, torch.Generator().manual_seed(1))
    values = [value for value in getattr(draw, name) if value != otherwise]
    edge = 0.02 * (high - low)
    assert low <= min(values) < low + edge
    assert high - edge < max(values) <= high


def test_the_jitter_comes_as_a_whole_and_blur_and_noise_by_themselves() -> None:
    draw = IntensityViews().draw(4000, torch.Generator().manual_seed(1))
    jittered, blurred, noisy = (
        torch.tensor(values) != otherwise
        for values, otherwise in ((draw.contrast, 1.0), (draw.blur, 0.0), (draw.noise, 0.0))
    )
    assert torch.equal(jittered, torch.tensor(draw.brightness) != 0.0)
    assert torch.equal(jittered, torch.tensor(draw.gamma) != 1.0)
    for both, share in (
        (blurred & noisy, 0.25),
        (jittered & blurred, 0.4),
        (jittered & noisy, 0.4),
    ):
        assert both.float().mean().item() == pytest.approx(share, abs=0.04)


def test_half_precision_around_it_changes_nothing() -> None:
    views = IntensityViews(blurred=1.0)
    draw = views.draw(1, torch.Generator().manual_seed(4))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = views.apply(image(), draw)
    assert torch.equal(rounded, views.apply(image(), draw))
