"""Entropy of a mean, by hand; the order of blocks."""

from __future__ import annotations

import math

import pytest
import torch

from medsemi.parts.uncertainty import mean_entropy, most_uncertain


@pytest.mark.parametrize(
    ("one", "other", "nats"),
    [
        ((0.9, 0.1), (0.5, 0.5), 0.610864),
        ((0.99, 0.01), (0.99, 0.01), 0.056002),
        ((1.0, 0.0), (0.0, 1.0), math.log(2)),
        ((1.0, 0.0), (1.0, 0.0), 0.0),
    ],
)
def test_entropy_by_hand(one, other, nats: float) -> None:
    first, second = (torch.tensor(p).view(1, 2, 1, 1) for p in (one, other))
    found = mean_entropy(first, second)
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(nats / math.log(2), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_uniform_is_one(classes: int) -> None:
    uniform = torch.full((2, classes, 3, 3, 3), 1 / classes)
    torch.testing.assert_close(
        mean_entropy(uniform, uniform), torch.ones(2, 3, 3, 3), atol=1e-4, rtol=0
    )


def test_the_largest_come_first_and_ties_by_number() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.3, 0.7], [0.5, 0.5, 0.5, 0.5]])
    assert most_uncertain(scores, 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    assert most_uncertain(torch.zeros(1, 500), 4).tolist() == [[0, 1, 2, 3]]
