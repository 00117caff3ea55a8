"""Region losses against the published code, and their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medsemi.errors import ConfigError
from medsemi.parts.copy_paste import mix
from medsemi.parts.losses import (
    dice_form,
    linear_dice,
    one_hot,
    region_losses,
    region_mean,
    squared_dice,
)


def case(file: Path, name: str) -> dict[str, Tensor]:
    """Read one golden case; float16 inputs are exact in float32."""
    stored = np.load(file)
    return {
        key.split("/", 1)[1]: torch.from_numpy(np.asarray(stored[key]))
        for key in stored.files
        if key.startswith(f"{name}/")
    }


def two_regions(logits, outside, inside, mask, weights, dice):
    """The loss of one mix from its parts, as a method assembles it."""
    label = mix(outside, inside, mask)
    terms = region_losses(logits, label, {"outside": mask, "inside": ~mask}, dice)
    return sum(weights[name.split("_")[1]] * term for name, term in terms.items()) / 2, terms


@pytest.mark.parametrize("name", ["normal", "empty_pseudo", "no_hole"])
def test_three_dimensional_loss_is_the_published_one(golden: Path, name: str) -> None:
    g = case(golden / "bcp_loss_3d.npz", name)
    mask = g["mask"].bool()
    logits_l = g["logits_l"].float().requires_grad_()
    logits_u = g["logits_u"].float().requires_grad_()
    loss_l, terms_l = two_regions(
        logits_l, g["lab_a"], g["plab_a"], mask, {"outside": 1.0, "inside": 0.5}, linear_dice
    )
    loss_u, terms_u = two_regions(
        logits_u, g["plab_b"], g["lab_b"], mask, {"outside": 0.5, "inside": 1.0}, linear_dice
    )
    (loss_l + loss_u).backward()
    order = ["dice_outside", "dice_inside", "ce_outside", "ce_inside"]
    for terms, stored in ((terms_l, g["terms_l"]), (terms_u, g["terms_u"])):
        torch.testing.assert_close(torch.stack([terms[n] for n in order]), stored)
    torch.testing.assert_close(loss_l + loss_u, g["total"], rtol=1e-5, atol=0)
    torch.testing.assert_close(logits_l.grad, g["grad_logits_l"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(logits_u.grad, g["grad_logits_u"], rtol=1e-5, atol=1e-7)


def test_three_dimensional_pretraining_loss_is_the_published_one(golden: Path) -> None:
    g = case(golden / "bcp_loss_3d.npz", "normal")
    mask = g["mask"].bool()
    logits = g["logits_l"].float().requires_grad_()
    label = mix(g["lab_a"], g["lab_b"], mask)
    terms = region_losses(logits, label, {"mixed": torch.ones_like(mask)}, linear_dice)
    loss = sum(terms.values()) / 2
    loss.backward()
    torch.testing.assert_close(loss, g["pretrain_loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(logits.grad, g["pretrain_grad"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["normal", "empty_pseudo"])
def test_two_dimensional_loss_is_the_published_one(golden: Path, name: str) -> None:
    g = case(golden / "bcp_loss_2d.npz", name)
    mask = g["mask"].bool()
    logits_unl = g["logits_unl"].float().requires_grad_()
    logits_l = g["logits_l"].float().requires_grad_()
    loss_unl, terms = two_regions(
        logits_unl, g["plab_a"], g["lab_a"], mask, {"outside": 0.5, "inside": 1.0}, squared_dice
    )
    loss_l, _ = two_regions(
        logits_l, g["lab_b"], g["plab_b"], mask, {"outside": 1.0, "inside": 0.5}, squared_dice
    )
    (loss_unl + loss_l).backward()
    weighted = 0.5 * terms["dice_outside"] + terms["dice_inside"]
    torch.testing.assert_close(weighted, g["unl_dice"], rtol=1e-5, atol=0)
    torch.testing.assert_close(loss_unl + loss_l, g["total"], rtol=1e-5, atol=0)
    torch.testing.assert_close(logits_unl.grad, g["grad_logits_unl"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(logits_l.grad, g["grad_logits_l"], rtol=1e-5, atol=1e-7)


def test_two_dimensional_pretraining_loss_is_the_published_one(golden: Path) -> None:
    g = case(golden / "bcp_loss_2d.npz", "normal")
    logits = g["logits_l"].float().requires_grad_()
    both = {"outside": 1.0, "inside": 1.0}
    loss, _ = two_regions(logits, g["lab_a"], g["lab_b"], g["mask"].bool(), both, squared_dice)
    loss.backward()
    torch.testing.assert_close(loss, g["pretrain_total"], rtol=1e-5, atol=0)
    torch.testing.assert_close(logits.grad, g["pretrain_grad"], rtol=1e-5, atol=1e-7)


def test_the_forms_of_dice_differ(golden: Path) -> None:
    g = case(golden / "bcp_loss_3d.npz", "normal")
    probability = g["logits_l"].float().softmax(1)
    target = one_hot(g["lab_a"], 2)
    everywhere = torch.ones_like(g["mask"], dtype=torch.bool)
    linear = linear_dice(probability, target, everywhere)
    assert abs(linear - squared_dice(probability, target, everywhere)) > 1e-3


@pytest.mark.parametrize("dice", [linear_dice, squared_dice])
def test_an_empty_region_costs_nothing(dice) -> None:
    probability = torch.rand(2, 2, 4, 4).softmax(1)
    target = one_hot(torch.ones(2, 4, 4, dtype=torch.uint8), 2)
    nowhere = torch.zeros(4, 4, dtype=torch.bool)
    assert dice(probability, target, nowhere).item() == pytest.approx(0.0, abs=1e-6)
    assert region_mean(torch.rand(2, 4, 4), nowhere).item() == 0.0


def test_half_precision_logits_do_not_overflow() -> None:
    logits = torch.randn(1, 2, 64, 64, 32).to(torch.float16)  # whose largest number is 65504
    label = (torch.rand(1, 64, 64, 32) > 0.5).to(torch.uint8)
    everywhere = torch.ones(64, 64, 32, dtype=torch.bool)
    terms = region_losses(logits, label, {"all": everywhere}, linear_dice)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    exact = region_losses(logits.float(), label, {"all": everywhere}, linear_dice)
    assert all(torch.equal(term, exact[name]) for name, term in terms.items())


def test_an_unknown_form_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="linear, squared"):
        dice_form("cubic")
