"""The baseline: labels only, half Dice, half cross entropy."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.supervised import Supervised


def batch(dims: int, unlabeled: Sub | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 1, *[6] * dims, generator=generator)
    label = torch.randint(3, (2, *[6] * dims), generator=generator).to(torch.uint8)
    return Batch(Sub(image, label, ("a", "b")), unlabeled)


def method(dims: int, dice: str = "linear") -> Supervised:
    torch.manual_seed(0)
    return Supervised((nn.Conv2d if dims == 2 else nn.Conv3d)(1, 3, 3, padding=1), dice=dice)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_is_half_dice_and_half_cross_entropy(dims: int) -> None:
    net, data = method(dims), batch(dims)
    assert data.labeled.label is not None
    terms = net(data, net.draw(data, torch.Generator()), 0)
    logits = net.student(data.labeled.image)
    entropy = functional.cross_entropy(logits, data.labeled.label.long())
    target = functional.one_hot(data.labeled.label.long(), 3).movedim(-1, 1)
    probability, axes = logits.softmax(1), tuple(range(2, dims + 2))
    overlap = (2 * probability * target).sum(axes)
    dice = 1 - ((overlap + 1e-5) / ((probability + target).sum(axes) + 1e-5)).mean()
    torch.testing.assert_close(terms.total, 0.5 * dice + 0.5 * entropy)
    assert terms.terms.keys() == {"dice_labeled", "ce_labeled"}


def test_unlabeled_windows_are_not_looked_at() -> None:
    net = method(2)
    broken = Sub(torch.full((1, 1, 6, 6), float("nan")), None, ("c",))
    with_them, without = (net(data, None, 0).total for data in (batch(2, broken), batch(2)))
    assert torch.equal(with_them, without)


def test_the_dice_form_is_a_setting() -> None:
    linear, squared = (method(2, form)(batch(2), None, 0) for form in ("linear", "squared"))
    assert torch.equal(linear.terms["ce_labeled"], squared.terms["ce_labeled"])
    assert not torch.equal(linear.terms["dice_labeled"], squared.terms["dice_labeled"])
    with pytest.raises(ConfigError, match="cubic"):
        method(2, "cubic")
