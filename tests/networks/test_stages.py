"""The parts of a network that make features, and networks that have none of a known name."""

from __future__ import annotations

import pytest
from torch import nn

from medsemi.errors import ConfigError
from medsemi.networks.stages import decoder_stages, encoder_part, out_channels


def test_the_part_that_ends_the_encoder_is_known_by_its_name() -> None:
    assert encoder_part(nn.ModuleDict({"encoder": nn.Identity()})) == "encoder"
    assert encoder_part(nn.ModuleDict({"bottleneck": nn.Identity()})) == "bottleneck"


def test_another_architecture_has_no_known_parts() -> None:
    network = nn.Sequential(nn.Conv3d(1, 1, 1))
    assert encoder_part(network) is None
    assert decoder_stages(network) == {}


def test_the_last_convolution_tells_the_channels() -> None:
    part = nn.Sequential(nn.Conv3d(1, 4, 1), nn.Conv3d(4, 3, 1), nn.ReLU())
    assert out_channels(part) == 3
    with pytest.raises(ConfigError, match="Identity has no convolution"):
        out_channels(nn.Identity())
