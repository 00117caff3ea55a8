"""Where two networks together are uncertain.

Shen, Cao, Yang, Liu, Yang, Zaiane: Co-training with High-Confidence Pseudo Labels for
Semi-supervised Medical Image Segmentation (UCMT), IJCAI 2023, arXiv 2301.04465.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mean_entropy(one: Tensor, other: Tensor) -> Tensor:
    """Return the entropy of the mean of two predictions as a share of the largest possible one.

    Args:
        one: probabilities, shape (batch, classes, *space), at least two classes.
        other: those of the other network.

    Returns:
        Shape (batch, *space), from 0 (both sure of the same class) to 1 (all classes alike).
    """
    mean = (one + other) / 2
    return -(mean * torch.log(mean + 1e-6)).sum(1) / math.log(mean.shape[1])


def most_uncertain(scores: Tensor, count: int) -> Tensor:
    """Return the numbers of the `count` blocks of largest score, the largest first.

    Args:
        scores: shape (batch, blocks); of equal scores the lower number comes first.
        count: at most the number of blocks.

    Returns:
        Shape (batch, count), int64.
    """
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]
