"""Distances to a soft target, against the reference numbers."""

from __future__ import annotations

import pytest
import torch

from medsemi.errors import ConfigError
from medsemi.parts.consistency import (
    consistency_form,
    squared_difference,
    symmetric_cross_entropy,
)


def test_the_reference_number(reference_logits) -> None:
    found = squared_difference(reference_logits.a, reference_logits.b.softmax(1))
    assert found.item() == pytest.approx(0.1847691, abs=1e-6)


def test_symmetric_cross_entropy_by_hand_and_where_the_target_is_unsure() -> None:
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    logits = p.log().view(1, 2, 1, 1).requires_grad_()
    loss = symmetric_cross_entropy(logits, q.view(1, 2, 1, 1))
    torch.testing.assert_close(loss, -(q * p.log()).sum() - (p * q.log()).sum())


def test_symmetric_cross_entropy_is_a_mean_over_voxels_and_bounded() -> None:
    """A target that excludes a class costs the logarithm of 1e-6 and not infinitely much."""
    p = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    q = torch.tensor([[0.4, 0.6], [1.0, 0.0], [0.3, 0.7]])
    logits, target = (rows.T.reshape(1, 2, 1, 3) for rows in (p.log(), q))
    by_voxel = -(q * p.log() + p * q.clamp(min=1e-6).log()).sum(1)
    torch.testing.assert_close(symmetric_cross_entropy(logits, target), by_voxel.mean())
    twice = (torch.cat([one, one]) for one in (logits, target))
    torch.testing.assert_close(symmetric_cross_entropy(*twice), by_voxel.mean())


def test_a_form_by_name() -> None:
    assert consistency_form("squared") is squared_difference
    assert consistency_form("symmetric_cross_entropy") is symmetric_cross_entropy
    with pytest.raises(ConfigError, match="cubic"):
        consistency_form("cubic")
