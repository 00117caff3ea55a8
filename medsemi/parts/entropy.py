"""Entropy from log-probabilities, which stays finite, with its gradient, for sure networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def voxel_entropy(log_probability: Tensor) -> Tensor:
    """Return the entropy of each voxel in nats, from 0 to ln(classes).

    Args:
        log_probability: shape (batch, classes, *space).

    Returns:
        Shape (batch, *space).
    """
    return -(log_probability.exp() * log_probability).sum(1)


def mean_log_probability(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of several predictions' probabilities, in float32.

    Args:
        logits: of one shape (batch, classes, *space); log-probabilities serve as well.
    """
    logs = torch.stack([one.float().log_softmax(1) for one in logits])
    return logs.logsumexp(0) - math.log(len(logits))
