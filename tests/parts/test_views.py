"""Frequency views: the closed form of their correlation, and what they do not depend on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.parts.views import FrequencyViews, OnView, ViewDraw, standardized

IMAGE = torch.randn(3, 2, 12, 10, 8, generator=torch.Generator().manual_seed(0))


def views_of(alpha: float, beta: float, image: torch.Tensor = IMAGE, **settings: object):
    axes = image.ndim - 2
    draw = ViewDraw((alpha,) * len(image), (beta,) * len(image), (0,) * axes)
    return FrequencyViews(**settings).apply(image, draw)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize(
    ("alpha", "beta", "expected"), [(0.2, 0.65, 0.69884), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
)
def test_the_correlation_is_a_closed_form(
    alpha: float, beta: float, expected: float, levels: int
) -> None:
    image = torch.randn(2, 1, 16, 8, 12, generator=torch.Generator().manual_seed(1))
    low, high = views_of(alpha, beta, image, levels_low=levels, levels_high=levels)
    formula = (alpha + beta) / math.sqrt((1 + alpha**2) * (1 + beta**2))
    assert formula == pytest.approx(expected, abs=1e-5)
    correlation = (low * high).mean((1, 2, 3, 4))
    torch.testing.assert_close(correlation, torch.full((2,), formula), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["haar", "gaussian", "fft"])
def test_gain_and_offset_change_nothing(kind: str) -> None:
    for one, other in zip(
        views_of(0.2, 0.65, kind=kind),
        views_of(0.2, 0.65, 300 * IMAGE - 1000, kind=kind),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_each_sample_and_channel_has_mean_zero_and_deviation_one() -> None:
    for view in views_of(0.1, 0.7):
        flat = view.flatten(2)
        torch.testing.assert_close(flat.mean(2), torch.zeros(3, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(flat.std(2, correction=0), torch.ones(3, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["haar", "gaussian", "fft"])
def test_a_constant_window_is_zero(kind: str) -> None:
    for view in views_of(0.2, 0.65, torch.full((1, 1, 13, 17, 11), 2047.7), kind=kind):
        assert view.abs().max() < 1e-3


def test_the_formula_of_the_views() -> None:
    """Each sample by its own alpha and beta, the bands written out."""
    image = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    blocks = image.view(2, 1, 4, 2, 4, 2).mean((3, 5))
    low = standardized(blocks.repeat_interleave(2, 2).repeat_interleave(2, 3))
    high = standardized(image - blocks.repeat_interleave(2, 2).repeat_interleave(2, 3))
    found = FrequencyViews().apply(image, ViewDraw((0.1, 0.4), (0.5, 0.8), (0, 0)))
    for i, (alpha, beta) in enumerate([(0.1, 0.5), (0.4, 0.8)]):
        expected = (low + alpha * high)[i : i + 1], (high + beta * low)[i : i + 1]
        torch.testing.assert_close(found[0][i : i + 1], standardized(expected[0]))
        torch.testing.assert_close(found[1][i : i + 1], standardized(expected[1]))


def test_raw_bands_make_the_same_view_twice() -> None:
    """Why bands are standardized: of a smooth image, the high band weighs next to nothing."""
    line = torch.linspace(-3, 3, 32)
    image = (line.view(1, 1, -1, 1) * line).sin() + 0.05 * IMAGE.flatten()[:1024].view(1, 1, 32, 32)
    low, high = views_of(0.2, 0.65, image, standardize=False)
    assert (low * high).mean() > 0.9
    low, high = views_of(0.2, 0.65, image)
    assert (low * high).mean() < 0.7


def test_raw_bands_with_all_of_the_other_are_the_window() -> None:
    """The ablation without frequencies needs no switch of its own."""
    for view in views_of(1.0, 1.0, standardize=False):
        torch.testing.assert_close(view, standardized(IMAGE), atol=1e-5, rtol=0)


def test_the_high_view_may_lack_more_than_the_low_one_shows() -> None:
    low, high = views_of(0.0, 0.0, levels_high=2)
    same_low, same_high = views_of(0.0, 0.0, levels_high=1)
    assert torch.equal(low, same_low)
    assert not torch.allclose(high, same_high)
    assert (low * high).mean() > 0.05  # the middle band is in both


def test_draws_are_in_their_ranges_and_of_every_sample() -> None:
    views = FrequencyViews(levels_high=2, moving_blocks=True)
    draw = views.draw(500, 3, torch.Generator().manual_seed(0))
    assert 0.0 <= min(draw.alpha) < 0.02 < 0.38 < max(draw.alpha) <= 0.4
    assert 0.5 <= min(draw.beta) < 0.52 < 0.78 < max(draw.beta) <= 0.8
    anchors = {views.draw(1, 1, torch.Generator().manual_seed(i)).anchor for i in range(40)}
    assert anchors == {(0,), (1,), (2,), (3,)}
    assert FrequencyViews().draw(1, 2, torch.Generator()).anchor == (0, 0)


def test_the_defaults_are_those_of_xnet_v2() -> None:
    defaults = dataclasses.asdict(FrequencyViews())
    assert (defaults["alpha_range"], defaults["beta_range"]) == ((0.0, 0.4), (0.5, 0.8))
    assert (defaults["alpha"], defaults["beta"], defaults["kind"]) == (0.2, 0.65, "haar")
    assert (defaults["levels_low"], defaults["levels_high"]) == (1, 1)


def test_views_stay_in_float32_under_autocast() -> None:
    exact = views_of(0.2, 0.65, kind="gaussian")
    with torch.autocast("cpu", torch.bfloat16):
        found = views_of(0.2, 0.65, kind="gaussian")
    assert torch.equal(exact[0], found[0])
    assert torch.equal(exact[1], found[1])


@pytest.mark.parametrize("band", ["low", "high"])
def test_a_network_on_its_view_sees_the_fixed_one(band: str) -> None:
    expected = dict(zip(("low", "high"), views_of(0.2, 0.65), strict=True))[band]
    assert torch.equal(OnView(nn.Identity(), FrequencyViews(), band)(IMAGE), expected)


def test_compiling_reaches_the_network_that_training_calls(monkeypatch) -> None:
    network, called = nn.Identity(), []
    monkeypatch.setattr(network, "compile", lambda **options: called.append(options))
    OnView(network, FrequencyViews(), "low").compile(dynamic=True)
    assert called == [{"dynamic": True}]


@pytest.mark.parametrize("settings", [{"kind": "db2"}, {"levels_low": 0}, {"levels_high": 0}])
def test_settings_that_cannot_be_applied_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        FrequencyViews(**settings)


def test_without_a_low_pass_both_views_are_the_window_itself() -> None:
    views, image = FrequencyViews(kind="none"), torch.rand(2, 1, 8, 8)
    for draw in (views.draw(2, 2, torch.Generator()), views.fixed(2, 2)):
        assert all(torch.equal(view, image) for view in views.apply(image, draw))
