"""What hard labels tell of a training's health, by hand."""

from __future__ import annotations

import pytest
import torch

from medsemi.parts.label_agreement import foreground_share, label_agreement


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 1, 0, 0], [1, 0, 0, 0], 2 / 3),
        ([1, 2, 0, 0], [2, 1, 0, 0], 0.0),
        ([1, 2, 0, 0], [1, 2, 0, 0], 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.0),
    ],
)
def test_agreement(one: list[int], other: list[int], expected: float) -> None:
    found = label_agreement(torch.tensor([one]), torch.tensor([other]))
    assert found.item() == pytest.approx(expected)


def test_foreground_share() -> None:
    assert foreground_share(torch.tensor([[0, 2], [1, 0]])).item() == 0.5
