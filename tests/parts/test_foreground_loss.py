"""Cross entropy with a Dice of present classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from medsemi.parts.foreground_loss import foreground_loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 5, 6, generator=GENERATOR)
LABEL = torch.randint(3, (2, 4, 5, 6), generator=GENERATOR)


def test_the_formula() -> None:
    probability = LOGITS.softmax(1)
    dice = []
    for sample in range(2):
        for value in (1, 2):
            p, y = probability[sample, value], (LABEL[sample] == value).float()
            dice.append(1 - 2 * (p * y).sum() / ((p**2).sum() + (y**2).sum()))
    expected = 0.5 * functional.cross_entropy(LOGITS, LABEL) + 0.5 * torch.stack(dice).mean()
    torch.testing.assert_close(foreground_loss(LOGITS, LABEL), expected)


def test_a_perfect_prediction_costs_nothing() -> None:
    logits = 50.0 * functional.one_hot(LABEL, 3).movedim(-1, 1).float()
    assert foreground_loss(logits, LABEL) < 1e-6


@pytest.mark.parametrize("min_voxels", [1, 5])
def test_an_absent_class_leaves_cross_entropy_alone(min_voxels: int) -> None:
    logits = LOGITS.clone().requires_grad_()
    empty = torch.zeros_like(LABEL)
    loss = foreground_loss(logits, empty, min_voxels=min_voxels)
    loss.backward()
    plain = LOGITS.clone().requires_grad_()
    (0.5 * functional.cross_entropy(plain, empty)).backward()
    torch.testing.assert_close(logits.grad, plain.grad)
    assert loss.item() == pytest.approx(0.5 * functional.cross_entropy(LOGITS, empty).item())
    # Without the rule there is one more half that says nothing.
    assert foreground_loss(logits, empty).item() == pytest.approx(loss.item() + 0.5, abs=1e-4)


def test_a_class_counts_where_its_sample_has_enough_voxels() -> None:
    label = torch.zeros_like(LABEL)
    label[0, 0, 0, :3] = 1
    label[1, 0, 0, :2] = 1
    only_first = foreground_loss(LOGITS, label, min_voxels=3, dice_weight=1.0)
    p, y = LOGITS.softmax(1)[0, 1], (label[0] == 1).float()
    expected = 1 - 2 * (p * y).sum() / ((p**2).sum() + y.sum())
    torch.testing.assert_close(only_first, expected, atol=1e-5, rtol=0)


def test_voxels_that_do_not_count_take_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    keep = torch.zeros_like(LABEL, dtype=torch.bool)
    keep[:, :2] = True
    loss = foreground_loss(logits, LABEL, keep=keep)
    loss.backward()
    assert logits.grad[:, :, 2:].abs().max() == 0
    assert logits.grad[:, :, :2].abs().min() > 0
    torch.testing.assert_close(loss, foreground_loss(LOGITS[:, :, :2], LABEL[:, :2]))


def test_without_any_voxel_the_loss_is_zero() -> None:
    none = torch.zeros_like(LABEL, dtype=torch.bool)
    assert foreground_loss(LOGITS, LABEL, min_voxels=1, keep=none) == 0


@pytest.mark.parametrize(("weight", "expected"), [(0.0, math.log(3)), (0.5, 0.5 * math.log(3))])
def test_the_share_of_the_dice(weight: float, expected: float) -> None:
    zeros = torch.zeros(1, 3, 4, 4)
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    found = foreground_loss(zeros, label, dice_weight=weight, min_voxels=1)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_half_precision_is_lifted() -> None:
    half = foreground_loss(LOGITS.bfloat16(), LABEL)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, foreground_loss(LOGITS.bfloat16().float(), LABEL))
