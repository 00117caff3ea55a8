"""nnU-Net's intensity changes: each by hand, with its probability, and pure in its draw."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from medsemi.errors import ConfigError
from medsemi.parts.intensity_augmentation import AugmentationDraw, IntensityAugmentation

NOTHING = AugmentationDraw((0.0,), (0,), (0.0,), (1.0,), (1.0,), (1.0,), (1.0,), (1.0,))


def image(axes: int = 3, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 1, *(8,) * axes, generator=torch.Generator().manual_seed(2))


def changed(axes: int = 3, **changes: tuple[float, ...]) -> torch.Tensor:
    return IntensityAugmentation().apply(image(axes), dataclasses.replace(NOTHING, **changes))


def test_nothing_drawn_is_nothing_changed() -> None:
    assert torch.equal(changed(), image())
    draw = IntensityAugmentation(0.0).draw(50, torch.Generator().manual_seed(0))
    assert dataclasses.replace(draw, seed=()) == AugmentationDraw(
        *((0.0,) * 50, (), (0.0,) * 50), *((1.0,) * 50,) * 5
    )


@pytest.mark.parametrize("axes", [2, 3])
def test_each_change_by_hand(axes: int) -> None:
    x = image(axes)
    assert torch.equal(changed(axes, brightness=(1.2,)), 1.2 * x)
    wide = changed(axes, contrast=(1.25,))
    inside = (wide > x.min()) & (wide < x.max())
    torch.testing.assert_close(wide[inside], (x.mean() + 1.25 * (x - x.mean()))[inside])
    torch.testing.assert_close(torch.stack(wide.aminmax()), torch.stack(x.aminmax()))
    mode = {2: "bilinear", 3: "trilinear"}[axes]
    pool = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[axes]
    coarse = functional.interpolate(pool(x, 2), scale_factor=2.0, mode=mode)
    torch.testing.assert_close(changed(axes, zoom=(0.5,)), coarse)
    for name, sign in (("gamma", 1.0), ("inverted_gamma", -1.0)):
        curved = changed(axes, **{name: (1.5,)})
        torch.testing.assert_close(curved.mean(), x.mean(), atol=1e-4, rtol=0)
        torch.testing.assert_close(curved.std(), x.std(), atol=1e-3, rtol=0)
        unit = (sign * x - (sign * x).min()) / (x.max() - x.min())
        power = sign * unit**1.5
        standard = (power - power.mean()) / power.std() * x.std() + x.mean()
        torch.testing.assert_close(curved, standard, atol=1e-2, rtol=0)
    assert changed(axes, blur=(1.0,)).std() < 0.7 * x.std()
    noise = changed(axes, noise=(0.1,)) - x
    assert noise.std() == pytest.approx(0.1 * x.std().item(), rel=0.25)


def test_the_changes_come_in_the_order_of_nnunet() -> None:
    one_by_one = {
        "noise": (0.1,),
        "blur": (0.8,),
        "brightness": (1.2,),
        "contrast": (1.25,),
        "zoom": (0.5,),
        "inverted_gamma": (1.5,),
        "gamma": (0.7,),
    }
    apply, expected = IntensityAugmentation().apply, image() + 1.0
    for name, value in one_by_one.items():
        expected = apply(expected, dataclasses.replace(NOTHING, **{name: value}))
    together = apply(image() + 1.0, dataclasses.replace(NOTHING, **one_by_one))
    torch.testing.assert_close(together, expected)


def test_noise_has_its_tails() -> None:
    """Of 32768 voxels some are beyond 3.5 deviations; views clip at 2, nnU-Net does not."""
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(2))
    noisy = IntensityAugmentation().apply(x, dataclasses.replace(NOTHING, noise=(0.1,)))
    assert (noisy - x).abs().max() > 0.35 * x.std()


def test_draws_keep_their_probabilities_and_ranges() -> None:
    draw = IntensityAugmentation().draw(4000, torch.Generator().manual_seed(1))
    wanted = {
        "noise": (0.1, 0.0, 0.0, 0.1),
        "blur": (0.1, 0.0, 0.5, 1.0),
        "brightness": (0.15, 1.0, 0.75, 1.25),
        "contrast": (0.15, 1.0, 0.75, 1.25),
        "zoom": (0.125, 1.0, 0.5, 1.0),
        "inverted_gamma": (0.1, 1.0, 0.7, 1.5),
        "gamma": (0.3, 1.0, 0.7, 1.5),
    }
    for name, (probability, otherwise, low, high) in wanted.items():
        values = [v for v in getattr(draw, name) if v != otherwise]
        assert len(values) / 4000 == pytest.approx(probability, abs=0.025), name
        margin = 0.05 * (high - low)
        assert low <= min(values) < low + margin, name
        assert high - margin < max(values) <= high, name
    gammas = [g for g in draw.gamma if g != 1.0]
    assert sum(g < 1 for g in gammas) / len(gammas) == pytest.approx(0.5, abs=0.06)


def test_strength_widens_and_probability_multiplies() -> None:
    draw = IntensityAugmentation(3.0, 2.0).draw(2000, torch.Generator().manual_seed(1))
    changed_gamma = [g for g in draw.gamma if g != 1.0]
    assert len(changed_gamma) / 2000 == pytest.approx(0.9, abs=0.03)
    assert 0.4 <= min(changed_gamma) < 0.5
    assert 1.9 < max(changed_gamma) <= 2.0
    # A coarse grid of no voxels is none: at twice the strength a quarter of the window is left.
    assert 0.25 <= min(draw.zoom) < 0.27


def test_the_gradient_to_the_image_is_a_number() -> None:
    """Methods that deceive a network differentiate through what it sees."""
    x = image().requires_grad_()
    draw = dataclasses.replace(
        NOTHING, gamma=(0.7,), inverted_gamma=(0.7,), contrast=(1.2,), zoom=(0.6,), blur=(0.7,)
    )
    IntensityAugmentation().apply(x, draw).square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", ["contrast", "gamma", "inverted_gamma"])
def test_every_channel_keeps_its_own_mean_and_range(name: str) -> None:
    augmentation, draw = IntensityAugmentation(), dataclasses.replace(NOTHING, **{name: (1.25,)})
    channels = [image(), 3 * image() + 5]
    whole = augmentation.apply(torch.cat(channels, dim=1), draw)
    apart = torch.cat([augmentation.apply(one, draw) for one in channels], dim=1)
    torch.testing.assert_close(whole, apart)


def test_samples_are_changed_apart_and_half_precision_around_it_does_nothing() -> None:
    augmentation, x = IntensityAugmentation(3.0), image(count=3)
    draw = augmentation.draw(3, torch.Generator().manual_seed(4))
    whole = augmentation.apply(x, draw)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmentation.apply(x, draw), whole)
    for i in range(3):
        one = AugmentationDraw(*((getattr(draw, f.name)[i],) for f in dataclasses.fields(draw)))
        torch.testing.assert_close(augmentation.apply(x[i : i + 1], one), whole[i : i + 1])


@pytest.mark.parametrize(
    ("settings", "name"),
    [((-1.0, 1.0), "intensity_probability"), ((1.0, 0.0), "intensity_strength")],
)
def test_settings_that_cannot_be_are_named(settings: tuple, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        IntensityAugmentation(*settings)
