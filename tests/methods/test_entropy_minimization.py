"""Entropy minimization: from 0 to 1 for any number of classes, of unlabeled windows alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.methods.entropy_minimization import EntropyMinimization


class Echo(nn.Module):
    """Its logits are its input."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def batch(unlabeled: torch.Tensor) -> Batch:
    label = torch.zeros(1, *unlabeled.shape[2:], dtype=torch.uint8)
    image = torch.randn(1, *unlabeled.shape[1:])
    return Batch(Sub(image, label, ("a",)), Sub(unlabeled, None, ("b",)))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_ends_of_the_term(classes: int) -> None:
    method = EntropyMinimization(Echo(), rampup_steps=0)
    uniform, sure = torch.zeros(1, classes, 4, 4), torch.zeros(1, classes, 4, 4)
    sure[:, 1] = 1000.0
    assert method(batch(uniform), None, 0).terms["entropy"].item() == pytest.approx(1.0)
    found = method(batch(sure), None, 0)
    assert found.terms["entropy"].item() == 0.0
    assert found.monitors["pseudo_foreground"].item() == 1.0


def test_labeled_windows_have_no_part_in_it() -> None:
    method, unlabeled = EntropyMinimization(Echo(), rampup_steps=0), torch.randn(1, 3, 4, 4)
    first, second = (method(batch(unlabeled), None, 0) for _ in range(2))
    assert torch.equal(first.terms["entropy"], second.terms["entropy"])
    assert not torch.equal(first.terms["ce_labeled"], second.terms["ce_labeled"])


def test_the_weight_is_the_published_one_after_the_ramp() -> None:
    method = EntropyMinimization(Echo(), rampup_steps=10)
    weights = [method(batch(torch.randn(1, 3, 4, 4)), None, s).weights["entropy"] for s in (0, 10)]
    assert weights == pytest.approx([0.1 * 0.0067379, 0.1], abs=1e-7)
