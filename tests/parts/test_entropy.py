"""Entropy against the reference numbers, and at its ends."""

from __future__ import annotations

import math

import pytest
import torch

from medsemi.parts.entropy import mean_log_probability, voxel_entropy


def test_the_reference_number(reference_logits) -> None:
    entropy = voxel_entropy(reference_logits.a.log_softmax(1)).mean().item()
    assert entropy == pytest.approx(0.6296169, abs=1e-7)
    assert entropy / math.log(3) == pytest.approx(0.573102, abs=1e-6)


def test_ends_and_gradients() -> None:
    uniform = torch.zeros(1, 4, 2, 2, requires_grad=True)
    entropy = voxel_entropy(uniform.log_softmax(1))
    torch.testing.assert_close(entropy, torch.full((1, 2, 2), math.log(4)))
    entropy.sum().backward()
    torch.testing.assert_close(uniform.grad, torch.zeros_like(uniform))
    sure = torch.tensor([500.0, 0.0, -500.0]).view(1, 3, 1, 1).requires_grad_()
    entropy = voxel_entropy(sure.log_softmax(1))
    entropy.sum().backward()
    assert entropy.item() == 0.0
    assert torch.equal(sure.grad, torch.zeros_like(sure))


def test_the_mean_of_probabilities(reference_logits) -> None:
    a, b = reference_logits.a.float(), reference_logits.b.float()
    mean = mean_log_probability([a, b]).exp()
    torch.testing.assert_close(mean, (a.softmax(1) + b.softmax(1)) / 2)
