"""Soft clDice against MONAI's, and what it sees and does not see."""

from __future__ import annotations

import pytest
import torch
from monai.losses import SoftclDiceLoss
from torch import Tensor

from medsemi.parts.centerline_loss import centerline_loss, soft_skeleton


def tube(radius: float, *, gap: bool = False) -> Tensor:
    """A straight tube along the last axis of (1, 16, 16, 20), with three slices missing or not."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    disk = (y - 8).square() + (x - 8).square() <= radius**2
    label = disk[None, :, :, None].repeat(1, 1, 1, 20).to(torch.uint8)
    if gap:
        label[..., 9:12] = 0
    return label


def sure(label: Tensor, strength: float = 20.0) -> Tensor:
    """Logits of a network that is sure of `label`."""
    return strength * torch.stack([1.0 - 2.0 * label, 2.0 * label - 1.0], 1)


@pytest.mark.parametrize("shape", [(2, 2, 12, 10, 8), (2, 2, 14, 12)])
@pytest.mark.parametrize("iterations", [0, 3])
def test_with_one_foreground_class_it_is_the_loss_of_monai(
    shape: tuple[int, ...], iterations: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(shape, generator=generator)
    label = torch.randint(2, (shape[0], *shape[2:]), generator=generator).to(torch.uint8)
    reference = SoftclDiceLoss(
        iter_=iterations, include_background=False, to_onehot_y=True, softmax=True
    )
    expected = reference(logits, label.unsqueeze(1))
    # MONAI adds 1e-4 to the denominator of the harmonic mean.
    torch.testing.assert_close(
        centerline_loss(logits, label, iterations), expected, atol=2e-4, rtol=0
    )


def test_a_break_costs_and_width_does_not() -> None:
    label = tube(2.0)
    assert centerline_loss(sure(label), label) < 1e-3
    assert centerline_loss(sure(tube(3.0)), label) < 0.01
    assert centerline_loss(sure(tube(2.0, gap=True)), label) > 0.03
    assert centerline_loss(sure(torch.zeros_like(label)), label) > 0.8


def test_a_tube_wider_than_the_iterations_has_no_skeleton() -> None:
    wide = tube(5.0).unsqueeze(1).float()
    assert soft_skeleton(wide, 2)[..., 8, 8, 5:15].sum() == 0.0
    assert soft_skeleton(wide, 6)[..., 8, 8, 5:15].sum() == 10.0


def test_classes_count_alike_and_gradients_are_finite() -> None:
    label = torch.cat([tube(2.0), tube(2.0, gap=True)])
    label = torch.where(label == 1, torch.tensor([1, 2]).view(2, 1, 1, 1), 0).to(torch.uint8)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((2, 3, 16, 16, 20), generator=generator).requires_grad_()
    loss = centerline_loss(logits, label)
    renamed = torch.tensor([0, 2, 1])[label.long()].to(torch.uint8)
    torch.testing.assert_close(centerline_loss(logits[:, [0, 2, 1]], renamed), loss)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0
