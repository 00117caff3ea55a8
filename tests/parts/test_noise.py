"""Noise from seeds: relative to the window, clipped, the same twice."""

from __future__ import annotations

import pytest
import torch

from medsemi.parts.noise import add_noise, draw_seeds


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_noise_follows_the_scale_of_the_window(scale: float) -> None:
    image = scale * torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(1)) + 7
    noise = (add_noise(image, (1, 2), 0.1) - image) / image.std((2, 3), keepdim=True)
    assert noise.abs().max() <= 0.2 * 1.001
    # Standard deviation of a normal clipped at two: 0.959 of the whole.
    assert noise.std().item() == pytest.approx(0.0959, rel=0.05)
    assert noise.mean().abs() < 0.01


def test_a_seed_is_a_field() -> None:
    image = torch.randn(3, 1, 6, 6)
    same = add_noise(image, (5, 5, 6), 0.1) - image
    scale = image.std((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(same[0] / scale[0], same[1] / scale[1], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(same[0] / scale[0], same[2] / scale[2], atol=1e-2)
    assert torch.equal(add_noise(image, (5, 5, 6), 0.1), add_noise(image, (5, 5, 6), 0.1))
    assert add_noise(image, (5, 5, 6), 0.0) is image


def test_no_global_state_is_touched() -> None:
    state = torch.random.get_rng_state()
    add_noise(torch.randn(1, 1, 4, 4, generator=torch.Generator()), (3,), 0.1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(set(draw_seeds(50, torch.Generator().manual_seed(0)))) == 50
