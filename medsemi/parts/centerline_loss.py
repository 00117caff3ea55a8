"""Soft clDice: whether the center line of a tube lies in the prediction, and the reverse.

Shit, Paetzold, Sekuboyina et al.: clDice - a Novel Topology-Preserving Loss Function for Tubular
Structure Segmentation, CVPR 2021, arXiv 2003.07311. MONAI has the same loss (`SoftclDiceLoss`);
this one is plain PyTorch, as all parts are, and takes each class for itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medsemi.parts.losses import one_hot, probabilities


def centerline_loss(logits: Tensor, label: Tensor, iterations: int = 3) -> Tensor:
    """Return 1 - soft clDice per sample and foreground class, averaged, in float32.

    It is blind to the width of a tube, and 0.5 everywhere scores better than an empty prediction:
    a loss to be added to another one, with a weight of at most one half.

    Args:
        logits: shape (batch, classes, *space).
        label: class indices, shape (batch, *space).
        iterations: of the skeleton; at least the largest radius of a tube in voxels.
    """
    probability = probabilities(logits)[:, 1:]
    target = one_hot(label, logits.shape[1])[:, 1:]
    line, true_line = soft_skeleton(probability, iterations), soft_skeleton(target, iterations)
    axes = tuple(range(2, logits.ndim))
    precision = ((line * target).sum(axes) + 1.0) / (line.sum(axes) + 1.0)
    sensitivity = ((true_line * probability).sum(axes) + 1.0) / (true_line.sum(axes) + 1.0)
    return (1.0 - 2.0 * precision * sensitivity / (precision + sensitivity)).mean()


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Return what openings of ever smaller remains take away, in [0, 1].

    Args:
        mask: values in [0, 1], shape (batch, channels, *space), 2D or 3D.
        iterations: erosions; a tube of a larger radius has no skeleton.

    Source: jocpae/clDice, `soft_skeleton.py`, with as many iterations as are asked for.
    """
    skeleton = functional.relu(mask - _opened(mask))
    for _ in range(iterations):
        mask = _eroded(mask)
        left = functional.relu(mask - _opened(mask))
        skeleton = skeleton + functional.relu(left - skeleton * left)
    return skeleton


def _eroded(mask: Tensor) -> Tensor:
    axes = mask.ndim - 2
    shapes = [[3 if axis == one else 1 for axis in range(axes)] for one in range(axes)]
    return torch.stack([-_largest(-mask, shape) for shape in shapes]).amin(0)


def _opened(mask: Tensor) -> Tensor:
    return _largest(_eroded(mask), [3] * (mask.ndim - 2))


def _largest(values: Tensor, shape: list[int]) -> Tensor:
    pool = functional.max_pool2d if len(shape) == 2 else functional.max_pool3d
    return pool(values, shape, stride=1, padding=[n // 2 for n in shape])
