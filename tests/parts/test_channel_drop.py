"""Channels are dropped where a method says so, and two views complement each other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.networks.unet2d import UNet2D
from medsemi.parts.channel_drop import ChannelDrop, Channels, channel_factors
from medsemi.parts.named_part import named_part


def test_two_views_share_no_channel_and_lack_none() -> None:
    one, other = (channel_factors(Channels(7, complement), 64) for complement in (False, True))
    assert torch.equal(one + other, torch.full((64,), 2.0))
    assert set(one.tolist()) == {0.0, 2.0}
    assert torch.equal(channel_factors(Channels(), 8), torch.ones(8))


def test_only_the_named_samples_inside_the_context() -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 1), nn.ReLU())
    drop, image = ChannelDrop(network, "0"), torch.ones(3, 1, 2, 2)
    plain = network(image)
    with drop.of([Channels(), Channels(3), Channels(3, complement=True)]):
        found = network(image)
    assert torch.equal(found[0], plain[0])
    torch.testing.assert_close(found[1] + found[2], 2 * plain[1])
    assert not torch.equal(found[1], found[2])
    assert torch.equal(network(image), plain)
    assert list(network.state_dict()) == ["0.weight", "0.bias"]


def test_all_maps_of_an_encoder_lose_channels() -> None:
    network = UNet2D(filters=4, dropout=0.0).eval()
    drop, image = ChannelDrop(network, "encoder"), torch.randn(2, 1, 16, 16)
    with drop.of([Channels(1), Channels(2)]):
        maps = network.encoder(image)
    for features in maps:
        lost = (features == 0).all(-1).all(-1).float().mean()
        assert 0.0 < lost < 1.0


def test_a_copy_of_the_network_and_its_switch_stay_together() -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 1))
    holder = nn.Module()
    holder.network, holder.drop = network, ChannelDrop(network, "0")
    other = copy.deepcopy(holder)
    image = torch.ones(1, 1, 2, 2)
    with other.drop.of([Channels(3)]):
        assert (other.network(image) == 0).any()
        assert not (network(image) == 0).any()


def test_a_compiled_network_drops_too() -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 1), nn.ReLU())
    drop, image = ChannelDrop(network, "0"), torch.ones(1, 1, 2, 2)
    network.compile(backend="eager")
    plain = network(image)
    with drop.of([Channels(3)]):
        found = network(image)
    expected = plain * channel_factors(Channels(3), 16).view(1, 16, 1, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(network(image), plain)


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"features names 'trunk'.*encoder"):
        ChannelDrop(UNet2D(filters=4), "trunk")


def test_a_list_of_modules_is_no_part_that_could_be_seen() -> None:
    network = nn.Sequential()
    network.blocks = nn.ModuleList([nn.Conv2d(1, 2, 1)])
    with pytest.raises(ConfigError, match=r"take one of blocks\.0\."):
        named_part(network, "blocks", "features")
