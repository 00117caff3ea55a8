"""The options of CFC-Net that are off by default, each by its formula."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medsemi.batch import Batch
from medsemi.methods.cfcnet import CFCNet
from medsemi.parts.centerline_loss import centerline_loss
from medsemi.parts.foreground_loss import foreground_loss
from medsemi.parts.ucf_mix import UCFMix

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_cfcnet.py"))))
network, batch = SMALL.network, SMALL.batch


def method(**settings: object) -> CFCNet:
    """Students apart from each other and from their teacher."""
    net = CFCNet(network(), **{"mix": UCFMix(blocks=2), "rampup_steps": 0, **settings})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in (*net.students.low.parameters(), *net.students.high.parameters()):
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return net


def run(net: CFCNet, given: Batch):
    draws = net.draw(given, torch.Generator().manual_seed(3))
    image = torch.cat([given.labeled.image, given.unlabeled.image])
    views = net.views.apply(image, draws.views)
    students = net.students.low.network, net.students.high.network
    return net(given, draws, 0), draws, views, students


def test_soft_targets_are_probabilities() -> None:
    net, given = method(soft_targets=True), batch()
    found, _, views, students = run(net, given)
    low, high = (f(v[2:]).softmax(1) for f, v in zip(students, views, strict=True))
    teacher = net.teacher(given.unlabeled.image).softmax(1)
    full = ((low - teacher).square().mean() + (high - teacher).square().mean()) / 2
    torch.testing.assert_close(found.terms["full"], full)
    torch.testing.assert_close(found.terms["cross"], (low - high).square().mean())
    # Neither student is taught through the other one's target.
    found.terms["cross"].backward()
    together = [p.grad.clone() for p in students[0].parameters()]
    net.zero_grad()
    ((students[0](views[0][2:]).softmax(1) - high.detach()).square().mean() / 2).backward()
    for one, p in zip(together, students[0].parameters(), strict=True):
        torch.testing.assert_close(one, p.grad)


def test_soft_targets_move_with_displaced_blocks() -> None:
    net, given = method(soft_targets=True, mix=UCFMix("displaced", blocks=2, share=0.25)), batch()
    found, draws, views, students = run(net, given)
    teacher = net.teacher_probabilities(given.unlabeled.image)
    logits = [f(v[2:]) for f, v in zip(students, views, strict=True)]
    exchange = net.mix.choose(*net.doubts(logits, teacher), draws.block_order)
    moved = exchange.move(teacher)
    assert not torch.equal(moved, teacher)
    mixed = exchange.apply(views[0][2:], views[1][2:])
    low, high = (f(v).softmax(1) for f, v in zip(students, mixed, strict=True))
    expected = ((low - moved).square().mean() + (high - moved).square().mean()) / 2
    expected = expected + (low - high).square().mean()
    torch.testing.assert_close(found.terms["mix"], expected)


@pytest.mark.parametrize("mode", ["union", "random", "displaced"])
def test_labeled_windows_are_mixed_with_their_labels(mode: str) -> None:
    net, given = method(mix_labeled=0.5, mix=UCFMix(mode, blocks=2, share=0.25)), batch()
    found, draws, views, students = run(net, given)
    assert len(draws.block_order) == (5 if mode == "random" else 0)
    label = given.labeled.label
    logits = [f(v[:2]) for f, v in zip(students, views, strict=True)]
    doubts = net.doubts(logits, net.teacher_probabilities(given.labeled.image))
    exchange = net.mix.choose(*doubts, draws.block_order[:2])
    mixed = exchange.apply(views[0][:2], views[1][:2])
    losses = [
        foreground_loss(f(v), exchange.label(label)) for f, v in zip(students, mixed, strict=True)
    ]
    torch.testing.assert_close(found.terms["mix_labeled"], losses[0] + losses[1])
    assert found.weights["mix_labeled"] == 0.5
    other = run(method(mix=UCFMix(mode, blocks=2, share=0.25)), given)[0]
    if mode != "random":
        torch.testing.assert_close(found.terms["mix"], other.terms["mix"])


def test_the_center_line_counts_on_labeled_windows_alone() -> None:
    net, given = method(cldice_weight=0.3, cldice_iterations=2), batch()
    found, _, views, students = run(net, given)
    label = given.labeled.label
    lines = [centerline_loss(f(v[:2]), label, 2) for f, v in zip(students, views, strict=True)]
    torch.testing.assert_close(found.terms["cldice"], lines[0] + lines[1])
    assert found.weights["cldice"] == 0.3
    plain = run(method(), given)[0]
    assert set(found.terms) - set(plain.terms) == {"cldice"}
    for name, term in plain.terms.items():
        torch.testing.assert_close(found.terms[name], term)


def test_what_mixing_labeled_windows_costs_is_declared() -> None:
    net, given = method(mix_labeled=1.0), batch(2, 2)
    seen = {"student": 0, "teacher": 0}

    def count(name: str, windows: int) -> None:
        seen[name] += windows

    for name, member in (("student", net.students.low.network), ("teacher", net.teacher)):
        member.register_forward_pre_hook(lambda _, inputs, n=name: count(n, len(inputs[0])))
    run(net, given)
    # `run` itself asks nobody; views are made without a network.
    assert seen["student"] / 2 == net.passes["student_low"].learned == 4.0
    assert seen["teacher"] / 2 == net.passes["teacher"].watched == 2.0
