"""Mirrored prediction against the mean that it is."""

from __future__ import annotations

import torch
from torch import nn

from medsemi.parts.mirrors import mirrored_logits


def test_it_is_the_mean_over_all_subsets() -> None:
    torch.manual_seed(0)
    network, x = nn.Conv3d(1, 3, 3, padding=1), torch.randn(2, 1, 6, 5, 4)
    expected = torch.zeros(2, 3, 6, 5, 4)
    for dims in ([], [2], [4], [2, 4]):
        expected += network(x.flip(dims)).flip(dims).softmax(1) / 4
    found = mirrored_logits(network, x, (0, 2))
    torch.testing.assert_close(found.softmax(1), expected)
    torch.testing.assert_close(found.exp(), expected)
    assert torch.equal(mirrored_logits(network, x, ()), network(x))


def test_the_answer_mirrors_with_its_window() -> None:
    torch.manual_seed(0)
    network, x = nn.Conv2d(1, 2, 3, padding=1), torch.randn(1, 1, 6, 6)
    turned = mirrored_logits(network, x.flip([2]), (0, 1)).flip([2])
    torch.testing.assert_close(turned, mirrored_logits(network, x, (0, 1)))
