"""Modes are changed for a moment, and module by module given back."""

from __future__ import annotations

import pytest
from torch import nn

from medsemi.parts.modes import dropping_out, evaluated


def network() -> nn.Sequential:
    layers = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Dropout3d(0.5), nn.ReLU())
    layers[0].eval()  # a frozen batch norm, as in fine-tuning
    return layers


def test_evaluated_gives_each_module_its_own_mode_back() -> None:
    net = network()
    before = [module.training for module in net.modules()]
    with evaluated(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == before
    with pytest.raises(ValueError, match="no"), evaluated(net):
        raise ValueError("no")
    assert [module.training for module in net.modules()] == before


def test_dropping_out_touches_dropout_alone() -> None:
    net = network().eval()
    with dropping_out(net):
        assert [module.training for module in net] == [False, True, True, False]
    assert not any(module.training for module in net.modules())
