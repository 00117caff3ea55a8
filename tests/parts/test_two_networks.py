"""Two networks with one voice, and two that are the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.parts.two_networks import NetworkPair, require_different_starts


def test_a_pair_answers_with_the_mean_probability() -> None:
    first, second = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1)
    image = torch.randn(2, 1, 4, 4)
    expected = (first(image).softmax(1) + second(image).softmax(1)) / 2
    pair = NetworkPair(first, second)
    torch.testing.assert_close(pair(image).softmax(1), expected)
    torch.testing.assert_close(pair(image).exp(), expected)


def test_networks_of_one_start_are_refused() -> None:
    network = nn.Conv2d(1, 3, 1)
    for other in (network, copy.deepcopy(network)):
        with pytest.raises(ConfigError, match="same weights"):
            require_different_starts(network, other)


@pytest.mark.parametrize("other", [nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 3), nn.Conv2d(2, 4, 1)])
def test_networks_that_differ_are_taken(other: nn.Module) -> None:
    require_different_starts(nn.Conv2d(1, 3, 1), other)


def test_one_architecture_named_twice_becomes_two_networks() -> None:
    """As a configuration gives it, where both members refer to the same node."""
    one = nn.Conv3d(1, 2, 1)
    pair = NetworkPair(nn.Sequential(one), nn.Sequential(one))
    weights = {name: torch.full_like(value, 1.0) for name, value in pair.state_dict().items()}
    weights["second.0.weight"] = torch.full_like(one.weight, 2.0)
    pair.load_state_dict(weights)
    assert (pair.first[0].weight == 1).all()
    assert (pair.second[0].weight == 2).all()


def test_two_networks_are_owned_as_they_are() -> None:
    first, second = nn.Conv3d(1, 2, 1), nn.Conv3d(1, 2, 1)
    pair = NetworkPair(first, second)
    assert pair.first is first
    assert pair.second is second
