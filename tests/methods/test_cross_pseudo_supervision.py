"""CPS: each learns the other's labels and none its own; CutMix mixes labels as windows."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from medsemi.errors import ConfigError
from medsemi.methods.cross_pseudo_supervision import CrossPseudoSupervision, CutMixDraws
from medsemi.parts.copy_paste import Box

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def method(**settings) -> CrossPseudoSupervision:
    torch.manual_seed(0)
    one, other = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1)
    return CrossPseudoSupervision(one, other, rampup_steps=0, **settings)


def test_the_cross_term_by_hand() -> None:
    net, data = method(labeled_share=1.0), batch()
    terms = net(data, None, 0)
    for name, x in (("cross", data.unlabeled.image), ("cross_labeled", data.labeled.image)):
        a, b = net.both.first(x), net.both.second(x)
        expected = functional.cross_entropy(a, b.argmax(1)) + functional.cross_entropy(
            b, a.argmax(1)
        )
        torch.testing.assert_close(terms.terms[name], expected)
        assert terms.weights[name] == pytest.approx(0.1)


def test_no_network_is_moved_by_its_own_label() -> None:
    """The gradient of one network is that of its cross entropy to a constant label."""
    net, data = method(), batch()
    net(data, None, 0).terms["cross"].backward()
    alone, other = copy.deepcopy(net.both.first), net.both.second
    alone.zero_grad()
    x = data.unlabeled.image
    functional.cross_entropy(alone(x), other(x).argmax(1)).backward()
    torch.testing.assert_close(net.both.first.weight.grad, alone.weight.grad)
    assert other.weight.grad.abs().sum() > 0


def test_boxes_move_labels_with_windows() -> None:
    net, data = method(box_probability=1.0), batch()
    box = Box((1, 2), (4, 3))
    draws = CutMixDraws((box, box), (1, 0))
    x = data.unlabeled.image.clone()
    x[:, :, 1:5, 2:5] = data.unlabeled.image[[1, 0], :, 1:5, 2:5]
    mixed, labels = net.mixed(data.unlabeled.image, draws)
    assert torch.equal(mixed, x)
    for network, label in zip((net.both.first, net.both.second), labels, strict=True):
        whole = network(data.unlabeled.image).argmax(1)
        expected = whole.clone()
        expected[:, 1:5, 2:5] = whole[[1, 0], 1:5, 2:5]
        assert torch.equal(label.long(), expected)


@pytest.mark.parametrize("size", [(0, 0), (8, 8)])
def test_a_box_of_nothing_and_one_of_everything_mix_nothing(size: tuple[int, int]) -> None:
    net, data, box = method(box_probability=1.0), batch(), Box((0, 0), size)
    mixed = net(data, CutMixDraws((box, box), (1, 0)), 0)
    torch.testing.assert_close(mixed.terms["cross"], method()(data, None, 0).terms["cross"])


def test_one_start_is_refused() -> None:
    network = nn.Conv2d(1, 3, 1)
    with pytest.raises(ConfigError, match="same weights"):
        CrossPseudoSupervision(network, copy.deepcopy(network), rampup_steps=0)


def test_the_first_is_deployed_and_both_are_told_apart() -> None:
    net = method()
    assert net.inference_network is net.networks["student_a"]
    both = method(deploy="both")
    assert both.inference_network is both.networks["both"] is not both.networks["student_a"]
    x = batch().unlabeled.image
    mean = (net.both.first(x).softmax(1) + net.both.second(x).softmax(1)) / 2
    torch.testing.assert_close(net.networks["both"](x).exp(), mean)
