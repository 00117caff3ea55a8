"""Deep co-training: agreement, attacks that work, and who gets which gradient."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from medsemi.methods.deep_co_training import (
    DeepCoTraining,
    attack,
    jensen_shannon,
    sum_of_cross_entropies,
)

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1)
    )


def method() -> DeepCoTraining:
    torch.manual_seed(0)
    return DeepCoTraining(network(), network(), rampup_steps=0)


def test_the_divergence(reference_logits) -> None:
    a, b = reference_logits.a, reference_logits.b
    assert jensen_shannon(a, b).mean().item() == pytest.approx(0.19983147, abs=1e-6)
    assert jensen_shannon(a, a).abs().max() < 1e-6
    opposite = torch.tensor([[50.0, -50.0]]).view(1, 2, 1, 1)
    assert jensen_shannon(opposite, -opposite).item() == pytest.approx(math.log(2), abs=1e-6)


def test_an_attack_raises_the_loss_to_first_order() -> None:
    torch.manual_seed(0)
    net, image = network().eval(), batch().unlabeled.image
    label = net(image).argmax(1)
    deviation = image.std((2, 3), correction=0, keepdim=True)
    losses = []
    for epsilon in (0.0, 0.001, 0.002):
        moved = attack(net, image, label, epsilon)
        torch.testing.assert_close(
            (moved - image).abs().amax((1, 2, 3)),
            epsilon * deviation.flatten(),
            rtol=1e-3,
            atol=1e-6,
        )
        losses.append(functional.cross_entropy(net(moved), label).item())
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=0.05)


def test_an_attack_leaves_no_gradient_and_no_statistics() -> None:
    torch.manual_seed(0)
    net = network().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    moved = attack(net, batch().unlabeled.image, batch().labeled.label, 0.02)
    assert not moved.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training


def test_each_resists_the_window_that_deceives_the_other() -> None:
    net, data = method().eval(), batch()
    first, second = net.both.first, net.both.second
    x = torch.cat([data.labeled.image, data.unlabeled.image])
    expected = torch.zeros(())
    for one, other in ((first, second), (second, first)):
        found = one(data.unlabeled.image).argmax(1)
        label = torch.cat([data.labeled.label.long(), found])
        deceiving = attack(one, x, label, 0.02)
        logs = other(deceiving).log_softmax(1)
        expected = expected - (one(x).softmax(1) * logs).sum(1).mean()
    terms = net(data, None, 0)
    torch.testing.assert_close(terms.terms["difference"], expected)
    assert terms.weights["difference"] == 0.5
    assert terms.weights["agreement"] == 1.0


def test_the_gradient_flows_through_both_sides() -> None:
    one, other = (torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(2))
    sum_of_cross_entropies([one], [other]).backward()
    assert one.grad.abs().sum() > 0
    assert other.grad.abs().sum() > 0


def test_the_weights_are_the_published_ones_after_the_ramp() -> None:
    net, data = method(), batch()
    net.rampup_steps = 10
    first, last = (net(data, None, step).weights for step in (0, 10))
    for name, published in (("agreement", 1.0), ("difference", 0.5)):
        assert first[name] == pytest.approx(published * 0.0067379, abs=1e-6)
        assert last[name] == published
