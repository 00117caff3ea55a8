"""Sure voxels count, others do not, and no voxel becomes background by being unsure."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medsemi.parts.losses import dice_form
from medsemi.parts.pseudo_labels import confident_labels, label_monitors, pseudo_loss

CE_ONLY = {"dice": dice_form("squared"), "dice_weight": 0.0}


def test_the_reference_numbers(reference_logits) -> None:
    label, sure = confident_labels(reference_logits.b, 0.8)
    assert sure.mean().item() == pytest.approx(0.25)
    loss = pseudo_loss(reference_logits.a, label, sure, **CE_ONLY)
    assert loss.item() == pytest.approx(0.49698445, abs=1e-6)
    assert (loss / sure.mean()).item() == pytest.approx(1.98793781, abs=1e-5)
    overlap = pseudo_loss(
        reference_logits.a, label, sure, dice=dice_form("squared"), dice_weight=1.0
    )
    assert overlap.item() == pytest.approx(0.77805578, abs=1e-5)


def test_one_sure_voxel_of_four() -> None:
    probability = torch.tensor([[0.97, 0.6], [0.5, 0.9]])
    logits = torch.stack([probability, 1 - probability]).log().unsqueeze(0)
    label, sure = confident_labels(logits, 0.95)
    assert sure.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
    answer = torch.randn(1, 2, 2, 2)
    expected = functional.cross_entropy(answer[:, :, 0, 0], torch.tensor([0])) / 4
    torch.testing.assert_close(pseudo_loss(answer, label, sure, **CE_ONLY), expected)


@pytest.mark.parametrize("form", ["linear", "squared"])
@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
def test_without_a_sure_voxel_the_loss_is_zero(form: str, dice_weight: float) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    label, sure = confident_labels(logits, 1.01)
    loss = pseudo_loss(logits, label, sure, dice=dice_form(form), dice_weight=dice_weight)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_monitors_tell_classes_apart() -> None:
    label = torch.tensor([[[0, 0], [1, 1]]])
    weight = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    found = {k: v.item() for k, v in label_monitors(label, weight, 3).items()}
    assert found == {
        "pseudo_foreground": 0.5,
        "mask": 0.75,
        "mask_0": 1.0,
        "mask_1": 0.5,
        "mask_2": 0.0,
    }
