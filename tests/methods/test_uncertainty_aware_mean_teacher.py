"""UA-MT: which voxels count, the reference number, and what its dropout moves."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.methods.uncertainty_aware_mean_teacher import (
    UncertaintyAwareMeanTeacher,
)
from medsemi.parts.entropy import voxel_entropy
from medsemi.parts.foreground_loss import soft_target_loss

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def method(**settings) -> UncertaintyAwareMeanTeacher:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 3, 1)
    )
    return UncertaintyAwareMeanTeacher(network, rampup_steps=100, **settings)


def test_the_reference_number(reference_logits) -> None:
    a, b = reference_logits.a, reference_logits.b
    certain = voxel_entropy(a.log_softmax(1)) < 0.75 * math.log(2)
    assert certain.float().mean().item() == pytest.approx(0.35)
    loss = soft_target_loss(a, b.softmax(1), certain)
    assert loss.item() == pytest.approx(0.26520045, abs=1e-6)


def test_all_certain_is_the_mean_teacher_and_none_is_zero(reference_logits) -> None:
    a, b = reference_logits.a.float().requires_grad_(), reference_logits.b.float()
    everywhere = torch.ones(2, 4, 5, dtype=torch.bool)
    loss = soft_target_loss(a, b.softmax(1), everywhere)
    assert loss.item() == pytest.approx(0.1847691, abs=1e-6)
    nothing = soft_target_loss(a, b.softmax(1), ~everywhere)
    nothing.backward()
    assert nothing.item() == 0.0
    assert torch.equal(a.grad, torch.zeros_like(a))


@pytest.mark.parametrize(("step", "share"), [(0, 0.7517), (50, 0.8216), (100, 1.0)])
def test_the_threshold_rises_to_the_entropy_of_any_number_of_classes(step, share) -> None:
    net, data = method(noise=0.0), batch()
    net.eval()
    net.teacher.network[2].p = 0.0  # without dropout every pass is the same
    net.teacher.network[3].weight.data *= 8.0
    entropy = voxel_entropy(net.teacher(data.unlabeled.image).log_softmax(1))
    expected = (entropy < share * math.log(3)).float().mean().item()
    assert 0.1 < expected <= 1.0
    found = net(data, net.draw(data, torch.Generator()), step)
    assert found.monitors["mask"].item() == pytest.approx(expected)
    assert found.weights["consistency"] == pytest.approx(0.1 * (4 * share - 3), abs=1e-4)


def test_passes_that_would_all_be_the_same_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Dropout(0.0))
    with pytest.raises(ConfigError, match="noise is 0 and the network has no dropout"):
        UncertaintyAwareMeanTeacher(network, rampup_steps=100, noise=0.0)


def test_repeated_passes_use_dropout_and_leave_statistics_alone() -> None:
    net = method(noise=0.0)
    net.train()
    draws = net.draw(batch(), torch.Generator())
    assert [len(seeds) for seeds in draws.seeds] == [9, 9]
    before = {k: v.clone() for k, v in net.teacher.state_dict().items()}
    torch.manual_seed(1)
    first = net(batch(), draws, 50).monitors["uncertainty"]
    torch.manual_seed(2)
    assert net(batch(), draws, 50).monitors["uncertainty"] != first
    assert all(torch.equal(v, before[k]) for k, v in net.teacher.state_dict().items())
    assert not any(module.training for module in net.teacher.modules())
