"""Mirrored windows in evaluation and in prediction are the same mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.evaluation.protocol import WindowInference
from medsemi.parts.mirrors import mirrored_logits
from medsemi.prediction.bundle_network import read_plan


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv3d(1, 3, 3, padding=1)


@pytest.mark.parametrize("average", ["probability", "logits"])
def test_a_volume_of_one_window_is_the_mean_over_its_mirrors(average: str) -> None:
    x, net = torch.randn(1, 1, 8, 8, 8), network()
    found = WindowInference((8, 8, 8), average=average, mirror_axes=[0, 2])(x, net)
    torch.testing.assert_close(found, mirrored_logits(net, x, (0, 2)).softmax(1))
    plain = WindowInference((8, 8, 8), average=average)(x, net)
    torch.testing.assert_close(plain, net(x).softmax(1))
    assert not torch.allclose(found, plain, atol=1e-3)


def test_the_result_mirrors_with_the_volume() -> None:
    x, net = torch.randn(1, 1, 12, 8, 8), network()
    inference = WindowInference((8, 8, 8), (4, 8, 8), mirror_axes=[0])
    torch.testing.assert_close(inference(x.flip([2]), net).flip([2]), inference(x, net))


def test_prediction_takes_the_axes_of_the_inferer() -> None:
    assert read_plan(WindowInference((8, 8, 8), mirror_axes=[0, 1])).mirror_axes == (0, 1)
    assert read_plan(WindowInference((8, 8, 8))).mirror_axes == ()


@pytest.mark.parametrize("axes", [[3], [0, 0], [-1]])
def test_axes_that_cannot_be_are_named(axes: list[int]) -> None:
    with pytest.raises(ConfigError, match="mirror_axes"):
        WindowInference((8, 8, 8), mirror_axes=axes)
