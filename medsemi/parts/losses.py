"""Cross entropy and Dice inside a region of the window; sums run in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from medsemi.errors import ConfigError

RegionDice = Callable[[Tensor, Tensor, Tensor], Tensor]


def one_hot(label: Tensor, classes: int) -> Tensor:
    """Turn class indices (batch, *space) into float32 indicators (batch, classes, *space)."""
    indices = torch.arange(classes, device=label.device).view(1, -1, *[1] * (label.ndim - 1))
    return (label.unsqueeze(1) == indices).float()


def probabilities(logits: Tensor) -> Tensor:
    """Return the softmax over the classes (axis 1) in float32."""
    return torch.softmax(logits.float(), dim=1)


def voxel_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross entropy of each voxel; logits (batch, classes, *space) -> (batch, *space)."""
    return functional.cross_entropy(logits.float(), label.long(), reduction="none")


def region_mean(values: Tensor, region: Tensor) -> Tensor:
    """Average `values` (batch, *space) over the voxels of `region`; 0 if it is empty.

    `region` has shape (*space), or (batch, *space) where it differs between samples.

    Source: BCP, `utils/BCP_utils.py` (mix_loss): the sum over the batch by the size of the region
    plus 1e-16.
    """
    weight = region.to(values.dtype).expand_as(values)
    return (values * weight).sum() / (weight.sum() + 1e-16)


def linear_dice(probability: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Dice loss per sample and class with a plain denominator, averaged.

    Args:
        probability: shape (batch, classes, *space).
        target: indicators of the same shape.
        region: the voxels that count, shape (*space), or (batch, 1, *space).

    Source: BCP, `utils/losses.py` (mask_DiceLoss), smooth 1e-5; left atrium and pancreas.
    """
    axes = tuple(range(2, probability.ndim))
    weight = region.to(probability.dtype)
    overlap = (probability * target * weight).sum(axes)
    total = ((probability + target) * weight).sum(axes)
    return 1.0 - ((2.0 * overlap + 1e-5) / (total + 1e-5)).mean()


def squared_dice(probability: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Dice loss per class over the whole batch with a squared denominator, averaged.

    Args:
        probability: shape (batch, classes, *space).
        target: indicators of the same shape.
        region: the voxels that count, shape (*space), or (batch, 1, *space).

    Source: BCP, `utils/losses.py` (DiceLoss), smooth 1e-10; cardiac (ACDC).
    """
    axes = (0, *range(2, probability.ndim))
    weight = region.to(probability.dtype)
    overlap = (probability * target * weight).sum(axes)
    total = ((probability.square() + target.square()) * weight).sum(axes)
    return 1.0 - ((2.0 * overlap + 1e-10) / (total + 1e-10)).mean()


DICE_FORMS: dict[str, RegionDice] = {"linear": linear_dice, "squared": squared_dice}


def dice_form(name: str) -> RegionDice:
    """Return the Dice loss called `name`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in DICE_FORMS:
        msg = f"dice is '{name}'; it must be one of {', '.join(DICE_FORMS)}."
        raise ConfigError(msg)
    return DICE_FORMS[name]


def region_losses(
    logits: Tensor, label: Tensor, regions: dict[str, Tensor], dice: RegionDice
) -> dict[str, Tensor]:
    """Return `dice_<region>` and `ce_<region>` for each region of one prediction.

    Args:
        logits: shape (batch, classes, *space).
        label: class indices, shape (batch, *space).
        regions: name -> voxels that count, shape (*space).
        dice: the form of the Dice loss.
    """
    probability = probabilities(logits)
    target = one_hot(label, logits.shape[1])
    entropy = voxel_cross_entropy(logits, label)
    terms = {f"dice_{name}": dice(probability, target, region) for name, region in regions.items()}
    return terms | {f"ce_{name}": region_mean(entropy, region) for name, region in regions.items()}


def labeled_losses(logits: Tensor, label: Tensor, dice: RegionDice) -> dict[str, Tensor]:
    """Return `dice_labeled` and `ce_labeled` over whole windows; arguments as for `region_losses`.

    Every method that leaves labeled windows as they are learns them with these, one half each.
    """
    everywhere = torch.ones(logits.shape[2:], dtype=torch.bool, device=logits.device)
    return region_losses(logits, label, {"labeled": everywhere}, dice)
