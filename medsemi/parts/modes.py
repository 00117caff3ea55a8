"""Networks that answer for a moment in another mode than that of the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """Put `network` into eval mode; every module gets its own mode back.

    A label that a network makes for itself so has no dropout and leaves batch norm alone.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def has_dropout(network: nn.Module) -> bool:
    """Whether any module of `network` drops something in train mode."""
    return any(isinstance(module, _DropoutNd) and module.p > 0 for module in network.modules())


@contextmanager
def dropping_out(network: nn.Module) -> Iterator[None]:
    """Put the dropout of `network` into train mode and nothing else (Monte-Carlo dropout)."""
    modules = [module for module in network.modules() if isinstance(module, _DropoutNd)]
    modes = [module.training for module in modules]
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.train(training)
