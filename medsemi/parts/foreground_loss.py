"""Cross entropy with a Dice over those foreground classes that a label contains."""

from __future__ import annotations

import torch
from torch import Tensor

from medsemi.parts.components import hard_labels
from medsemi.parts.losses import one_hot, probabilities, region_mean, voxel_cross_entropy


def foreground_loss(
    logits: Tensor,
    label: Tensor,
    *,
    dice_weight: float = 0.5,
    min_voxels: int = 0,
    keep: Tensor | None = None,
) -> Tensor:
    """Return (1 - dice_weight) cross entropy + dice_weight soft Dice, in float32.

    The Dice has squared denominators and is taken per sample and foreground class (Milletari et
    al., V-Net, 3DV 2016), smooth 1e-5, then averaged over those that count. A pseudo-label that
    lacks a class should not count for it: towards an empty target this Dice is 1 without gradient
    as long as the class is predicted anywhere, and holds the network at "empty" once it hardly is.

    Args:
        logits: shape (batch, classes, *space).
        label: class indices, shape (batch, *space).
        dice_weight: share of the Dice; 1 is Dice alone.
        min_voxels: a class counts for the Dice of a sample where its label has as many voxels; 0
            counts all.
        keep: voxels that count, shape (batch, *space), bool; None is all.
    """
    logits = logits.float()
    if keep is None:
        keep = torch.ones_like(label, dtype=torch.bool)
    cross_entropy = region_mean(voxel_cross_entropy(logits, label), keep)

    weight = keep.unsqueeze(1)
    probability = torch.softmax(logits, 1)[:, 1:] * weight
    target = one_hot(label, logits.shape[1])[:, 1:] * weight
    axes = tuple(range(2, logits.ndim))
    voxels = target.sum(axes)
    overlap = (probability * target).sum(axes)
    total = probability.square().sum(axes) + voxels
    dice = 1.0 - (2.0 * overlap + 1e-5) / (total + 1e-5)
    counts = (voxels >= min_voxels).float()
    mean_dice = (dice * counts).sum() / counts.sum().clamp(min=1.0)
    return (1.0 - dice_weight) * cross_entropy + dice_weight * mean_dice


def hard_target_loss(
    logits: Tensor,
    target: Tensor,
    keep: Tensor | None = None,
    *,
    dice_weight: float = 0.5,
    min_voxels: int = 1,
) -> Tensor:
    """Return `foreground_loss` towards the most probable class of each voxel.

    Args:
        logits: shape (batch, classes, *space).
        target: probabilities of the same shape.
        keep: as for `foreground_loss`, like what follows.
        dice_weight: share of the Dice.
        min_voxels: voxels that make a class count for the Dice.
    """
    label = hard_labels(target)
    return foreground_loss(logits, label, dice_weight=dice_weight, min_voxels=min_voxels, keep=keep)


def soft_target_loss(logits: Tensor, target: Tensor, keep: Tensor | None = None) -> Tensor:
    """Return the mean squared difference to the probabilities `target`; arguments as above."""
    difference = (probabilities(logits) - target).square().mean(1)
    return region_mean(difference, torch.ones_like(difference) if keep is None else keep)
