"""Batch-norm statistics from the windows that a network will meet.

A student that learns from mixed windows collects their statistics and is then deployed on unmixed
ones. Collecting them anew, from unmixed training windows, costs a few forward passes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from medsemi.batch import Batch


def recalibrated(network: nn.Module, batches: Iterable[Batch], device: torch.device) -> nn.Module:
    """Return a copy of `network` whose batch-norm statistics are those of `batches`.

    The statistics are plain averages over the sub-batches, taken without dropout. A network
    without batch norm is returned as a mere copy.

    Args:
        network: left as it is.
        batches: unmixed windows, labeled and unlabeled.
        device: where the network is.
    """
    result = copy.deepcopy(network)
    for module in result.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    update_bn(_images(batches), result, device)
    return result.eval()


def _images(batches: Iterable[Batch]) -> Iterator[Tensor]:
    for batch in batches:
        yield batch.labeled.image
        if batch.unlabeled is not None:
            yield batch.unlabeled.image
