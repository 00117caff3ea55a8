"""UniMatch V2: two strong views, complementary features, a teacher that sees the weak one."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.methods.unimatch import UniMatch
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.parts.channel_drop import Channels
from medsemi.parts.copy_paste import Box
from medsemi.parts.intensity_views import IntensityViews
from medsemi.parts.losses import dice_form
from medsemi.parts.pseudo_labels import confident_labels, pseudo_loss

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]
PLAIN = IntensityViews(jitter=0.0, blurred=0.0, noisy=0.0)


def method(**settings) -> UniMatch:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 1))
    return UniMatch(network, features="1", threshold=0.4, **settings)


def test_without_views_boxes_and_drops_it_is_plain_self_training() -> None:
    net, data = method(views=PLAIN, box_probability=0.0, feature_drop=0.0), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    found = net(data, draws, 0)
    answer = net.student(data.unlabeled.image)
    label, sure = confident_labels(answer, 0.4)
    expected = pseudo_loss(answer, label, sure, dice=dice_form("linear"), dice_weight=1.0)
    torch.testing.assert_close(found.terms["strong_1"], expected)
    torch.testing.assert_close(found.terms["strong_2"], expected)


@pytest.mark.parametrize("size", [(0, 0), (8, 8)])
def test_boxes_of_nothing_and_of_everything_mix_nothing(size: tuple[int, int]) -> None:
    net, data = method(views=PLAIN, feature_drop=0.0), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    boxes = (Box((0, 0), size),) * 2
    views = tuple(dataclasses.replace(view, boxes=boxes) for view in draws.views)
    found = net(data, dataclasses.replace(draws, views=views), 0)
    plain = method(views=PLAIN, feature_drop=0.0, box_probability=0.0)
    expected = plain(data, plain.draw(data, torch.Generator()), 0)
    torch.testing.assert_close(found.terms["strong_1"], expected.terms["strong_1"])


def test_image_label_and_weight_are_mixed_by_one_box() -> None:
    net, data = method(views=PLAIN), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    view = dataclasses.replace(draws.views[0], boxes=(Box((0, 0), (2, 3)), Box((5, 5), (3, 2))))
    x = data.unlabeled.image
    label, weight = (x[:, 0] > 0).to(torch.uint8), x[:, 0].clone()
    found = net.strong(x, label, weight, view, (1, 0))
    for values, mixed in zip((x[:, 0], label, weight), (found[0][:, 0], *found[1:]), strict=True):
        expected = values.clone()
        expected[0, 0:2, 0:3] = values[1, 0:2, 0:3]
        expected[1, 5:8, 5:7] = values[0, 5:8, 5:7]
        torch.testing.assert_close(mixed, expected)


def test_the_views_of_a_window_have_complementary_features_and_labeled_ones_all() -> None:
    net, data, seen = method(feature_drop=1.0, views=PLAIN, box_probability=0.0), batch(), []
    net.student[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    draws = net.draw(data, torch.Generator().manual_seed(2))
    assert draws.views[0].channels[0] == Channels(draws.views[1].channels[0].seed)
    net(data, draws, 0)
    labeled, one, other = seen[-1].split(2)
    torch.testing.assert_close(one + other, 2 * net.student[:2](data.unlabeled.image))
    torch.testing.assert_close(labeled, net.student[:2](data.labeled.image))
    assert not torch.equal(one, other)


def test_weights_are_one_half_each() -> None:
    net, data = method(), batch()
    found = net(data, net.draw(data, torch.Generator()), 0)
    assert found.weights["strong_1"] == found.weights["strong_2"] == 0.5


@pytest.mark.parametrize("axes", [2, 3])
def test_the_networks_of_this_package_have_an_encoder_to_drop_from(axes: int) -> None:
    torch.manual_seed(0)
    network = UNet2D(filters=4) if axes == 2 else VNet(filters=2, norm="group")
    net, data = UniMatch(network), batch(axes, 16, 2)
    found = net(data, net.draw(data, torch.Generator().manual_seed(1)), 0)
    found.total.backward()
    assert all(p.grad is not None for p in net.student.parameters())


def test_a_network_without_such_a_part_is_refused() -> None:
    with pytest.raises(ConfigError, match="features names 'encoder'"):
        UniMatch(nn.Sequential(nn.Conv2d(1, 3, 1)))
