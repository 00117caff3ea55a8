"""Hard labels that a network made, the voxels of them that count, and their loss."""

from __future__ import annotations

from torch import Tensor

from medsemi.parts.components import hard_labels
from medsemi.parts.label_agreement import foreground_share
from medsemi.parts.losses import RegionDice, one_hot, probabilities, voxel_cross_entropy


def confident_labels(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the hard label of each voxel, and whether its probability reaches the threshold.

    A voxel below it does not count: it is no background.

    Args:
        logits: shape (batch, classes, *space).
        threshold: from 0 (all count) to 1.

    Returns:
        Two tensors of shape (batch, *space): class indices (uint8) and weights 0 or 1 (float32).

    Source: Sohn et al.: FixMatch, NeurIPS 2020, arXiv 2001.07685, equation 4.
    """
    confidence = probabilities(logits).amax(1)
    return hard_labels(logits), (confidence >= threshold).float()


def pseudo_loss(
    logits: Tensor, label: Tensor, weight: Tensor, *, dice: RegionDice, dice_weight: float
) -> Tensor:
    """Return (1 - dice_weight) cross entropy + dice_weight Dice over the voxels that count.

    The sum of the weighted cross entropy is divided by all voxels and not by those that count, so
    that it grows with the share of them (FixMatch, equation 4). In the Dice, the weight multiplies
    overlap and sums.

    Args:
        logits: shape (batch, classes, *space).
        label: class indices, shape (batch, *space).
        weight: of each voxel, from 0 to 1, shape (batch, *space).
        dice: its form.
        dice_weight: share of the Dice.
    """
    cross_entropy = (weight * voxel_cross_entropy(logits, label)).mean()
    if dice_weight == 0.0:
        return cross_entropy
    target = one_hot(label, logits.shape[1])
    overlap = dice(probabilities(logits), target, weight.unsqueeze(1))
    return (1.0 - dice_weight) * cross_entropy + dice_weight * overlap


def label_monitors(label: Tensor, weight: Tensor, classes: int) -> dict[str, Tensor]:
    """Return what tells a threshold that selects nothing, or all, from one that works.

    Args:
        label: class indices, shape (batch, *space).
        weight: of each voxel, same shape.
        classes: their number.

    Returns:
        `pseudo_foreground`, the share of voxels that are not background; `mask`, the mean weight;
        and `mask_<class>`, that of the voxels of a class (0 where there is none).
    """
    monitors = {"pseudo_foreground": foreground_share(label), "mask": weight.mean()}
    for value in range(classes):
        of_class = (label == value).float()
        monitors[f"mask_{value}"] = (weight * of_class).sum() / of_class.sum().clamp(min=1.0)
    return monitors
