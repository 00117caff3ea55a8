"""Noise whose decision is a number per sample: the seed of its field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_seeds(count: int, generator: torch.Generator) -> tuple[int, ...]:
    """Draw a seed per sample."""
    return tuple(torch.randint(2**62, (count,), generator=generator).tolist())


def add_noise(image: Tensor, seeds: Sequence[int], sigma: float, clip: float = 2.0) -> Tensor:
    """Add Gaussian noise, which is independent between voxels.

    Args:
        image: shape (batch, channels, *space), float32.
        seeds: one per sample. The field is made on the device of `image`; devices differ in it.
        sigma: standard deviation, by that of each sample and channel, so that one value serves any
            scale of intensities; 0 adds none.
        clip: largest magnitude by `sigma`.

    Source: UA-MT, `train_LA_meanteacher_certainty_unlabel.py`: 0.1 normal, clipped at 0.2.
    Deviation: there the standard deviation is absolute.
    """
    if sigma == 0.0:
        return image
    device = image.device
    fields = [
        torch.randn(one.shape, generator=torch.Generator(device).manual_seed(seed), device=device)
        for one, seed in zip(image, seeds, strict=True)
    ]
    deviation = image.std(tuple(range(2, image.ndim)), correction=0, keepdim=True)
    return image + sigma * deviation * torch.stack(fields).clamp(-clip, clip)
