"""Labeled and unlabeled windows of noise, for any method."""

from __future__ import annotations

import torch

from medsemi.batch import Batch, Sub


def batch(axes: int = 2, size: int = 8, classes: int = 3) -> Batch:
    """Two labeled windows and two unlabeled ones, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    space = (size,) * axes
    image, other = (torch.randn(2, 1, *space, generator=generator) for _ in range(2))
    label = torch.randint(classes, (2, *space), generator=generator).to(torch.uint8)
    return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))
