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
