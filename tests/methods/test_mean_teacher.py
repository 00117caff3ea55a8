"""Mean teacher: the paper's loss by hand, and where noise goes."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from medsemi.methods.mean_teacher import MeanTeacher
from medsemi.parts.noise import add_noise

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def method(**settings) -> MeanTeacher:
    torch.manual_seed(0)
    return MeanTeacher(nn.Conv2d(1, 3, 3, padding=1), rampup_steps=100, **settings)


def test_the_consistency_is_the_mean_squared_difference_under_noise_on_the_teacher() -> None:
    net, data = method(), batch()
    net.teacher.network.weight.data += 0.5
    draws = net.draw(data, torch.Generator().manual_seed(3))
    terms = net(data, draws, 100)
    seen = add_noise(data.unlabeled.image, draws.teacher, 0.1)
    student = net.student(data.unlabeled.image).softmax(1)
    teacher = net.teacher.network(seen).softmax(1)
    torch.testing.assert_close(terms.terms["consistency"], (student - teacher).square().mean())
    assert terms.weights["consistency"] == pytest.approx(0.1)


def test_noise_on_both_is_independent() -> None:
    net = method(student_noise=0.1)
    draws = net.draw(batch(), torch.Generator().manual_seed(3))
    assert not set(draws.student) & set(draws.teacher)
    net.teacher.load_state_dict({f"network.{k}": v for k, v in net.student.state_dict().items()})
    same = dataclasses.replace(draws, teacher=draws.student)
    assert net(batch(), same, 0).terms["consistency"] == 0
    assert net(batch(), draws, 0).terms["consistency"] > 0


def test_the_weight_follows_the_published_ramp_from_the_start_step_on() -> None:
    net = method(start_step=10)
    draws = net.draw(batch(), torch.Generator())
    weight = [net(batch(), draws, step).weights["consistency"] for step in (0, 9, 10, 50, 100, 500)]
    assert weight == pytest.approx([0, 0, 0.1 * 0.0174224, 0.1 * 0.2865048, 0.1, 0.1], abs=1e-7)


def test_the_teacher_is_a_copy_at_first_and_after_the_first_step() -> None:
    net = method()
    assert torch.equal(net.teacher.network.weight, net.student.weight)
    net.student.weight.data += 1.0
    net.after_step(0)
    assert torch.equal(net.teacher.network.weight, net.student.weight)
    before = net.student.weight.clone()
    net.student.weight.data += 1.0
    net.after_step(1)
    torch.testing.assert_close(net.teacher.network.weight, before + 0.5)


def test_either_can_be_deployed() -> None:
    net = method()
    assert net.inference_network is net.teacher.network
    net = method(deploy="student")
    assert net.inference_network is net.student
