"""Prediction of mirrored windows, averaged.

Source: nnU-Net mirrors each window along every subset of its axes. Deviation: probabilities are
averaged, as everywhere in this package; the result is their logarithm, which serves as logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain, combinations

import torch
from torch import Tensor


def mirrored_logits(network: Callable[..., Tensor], windows: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the logits of a network, averaged over the mirrored forms of its windows.

    Args:
        network: returns logits (batch, classes, *space).
        windows: (batch, channels, *space).
        axes: spatial axes, from 0; windows are mirrored along each of the 2^n subsets. Without
            axes the logits of the network are returned as they are.
    """
    if not axes:
        return network(windows)
    subsets = chain.from_iterable(combinations(axes, size) for size in range(len(axes) + 1))
    total: Tensor | None = None
    for subset in subsets:
        dims = [axis + 2 for axis in subset]
        logits = torch.flip(network(torch.flip(windows, dims)), dims)
        log_probability = logits.float().log_softmax(1)
        # One sum, not a list: eight maps of many classes are more than the network itself holds.
        total = log_probability if total is None else torch.logaddexp(total, log_probability)
    assert total is not None
    return total - math.log(2 ** len(axes))
