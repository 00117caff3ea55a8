"""What every method refuses of its options, before a training begins."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
import torch

from medsemi.errors import ConfigError
from medsemi.methods.build import build_method
from medsemi.methods.method import Method
from medsemi.methods.registry import METHODS
from medsemi.networks.unet2d import UNet2D

NAMES = [entry.name for entry in METHODS]


def build(name: str, norm: str = "batch", **options: Any) -> Method:
    torch.manual_seed(0)
    network = UNet2D(out_channels=2, filters=2, norm=norm)
    return build_method(name, network, steps=9, classes=2, window=(32, 32), options=options)


def taking(option: str) -> list[str]:
    """The methods that take an option."""
    found = []
    for entry in METHODS:
        module, _, kind = entry.target.rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
        found += [entry.name] if option in parameters else []
    assert found
    return found


# The teacher of BCP labels in train mode, which moves its own statistics.
@pytest.mark.parametrize("name", [n for n in taking("ema_buffers") if n != "bcp"])
def test_statistics_that_would_never_move_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="give ema_buffers average or copy"):
        build(name, ema_buffers="keep")
    build(name, norm="instance", ema_buffers="keep")
