"""What hard labels tell about the health of a training."""

from __future__ import annotations

import torch
from torch import Tensor


def foreground_share(label: Tensor) -> Tensor:
    """Return the share of voxels of `label` (class indices, any shape) that are not background."""
    return (label > 0).float().mean()


def label_agreement(one: Tensor, other: Tensor) -> Tensor:
    """Return the Dice of two hard labels over all foreground voxels; 1 where both are empty.

    Args:
        one: class indices, any shape; voxels agree where both have the same foreground class.
        other: the same of another network.
    """
    common = ((one == other) & (one > 0)).sum()
    total = (one > 0).sum() + (other > 0).sum()
    return torch.where(total > 0, 2.0 * common / total.clamp(min=1), 1.0)
