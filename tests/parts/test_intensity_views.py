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


def test_half_precision_around_it_changes_nothing() -> None:
    views = IntensityViews(blurred=1.0)
    draw = views.draw(1, torch.Generator().manual_seed(4))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = views.apply(image(), draw)
    assert torch.equal(rounded, views.apply(image(), draw))
