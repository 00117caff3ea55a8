"""ICT: all windows are mixed, whatever the sizes of the halves, and a linear network loses nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.methods.interpolation_consistency import InterpolationConsistency, MixtureDraws


def batch(labeled: int = 1, unlabeled: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(labeled, 1, 6, 6, generator=generator)
    label = torch.randint(3, (labeled, 6, 6), generator=generator).to(torch.uint8)
    other = torch.randn(unlabeled, 1, 6, 6, generator=generator)
    return Batch(Sub(image, label, ("a",) * labeled), Sub(other, None, ("c",) * unlabeled))


def method() -> InterpolationConsistency:
    torch.manual_seed(0)
    return InterpolationConsistency(nn.Conv2d(1, 3, 3, padding=1), rampup_steps=0)


def test_the_consistency_by_hand() -> None:
    net, data = method(), batch()
    net.teacher.network.weight.data += 0.5
    draws = MixtureDraws((1, 2, 0), (0.25, 0.5, 0.0))
    x = data.unlabeled.image
    teacher = net.teacher.network(x).softmax(1)
    expected = []
    for i, (other, share) in enumerate(zip(draws.partner, draws.shares, strict=True)):
        mixed = (1 - share) * x[i] + share * x[other]
        target = (1 - share) * teacher[i] + share * teacher[other]
        expected.append((net.student(mixed[None]).softmax(1) - target).square().mean())
    found = net(data, draws, 0).terms["consistency"]
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_without_a_share_it_is_a_mean_teacher_without_noise() -> None:
    net, data = method(), batch()
    net.teacher.network.weight.data += 0.5
    x = data.unlabeled.image
    expected = (net.student(x).softmax(1) - net.teacher.network(x).softmax(1)).square().mean()
    draws = MixtureDraws((1, 2, 0), (0.0, 0.0, 0.0))
    torch.testing.assert_close(net(data, draws, 0).terms["consistency"], expected)


def test_shares_are_drawn_from_the_published_distribution() -> None:
    net = method()
    draws = net.draw(batch(1, 3), torch.Generator().manual_seed(0))
    assert len(draws.partner) == len(draws.shares) == 3
    many = [net.draw(batch(), torch.Generator().manual_seed(i)).shares for i in range(300)]
    shares = torch.tensor(many)
    assert shares.var().item() == pytest.approx(1 / 5.6, rel=0.1)  # of Beta(0.2, 0.2)


def test_the_weight_is_the_published_one_after_the_ramp() -> None:
    net, data = method(), batch()
    net.rampup_steps, draws = 10, MixtureDraws((1, 2, 0), (0.0, 0.0, 0.0))
    weights = [net(data, draws, step).weights["consistency"] for step in (0, 10)]
    assert weights == pytest.approx([0.1 * 0.0067379, 0.1], abs=1e-7)
