"""The teacher's update against the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.parts.teacher import (
    EmaTeacher,
    frozen_copy,
    of_latest,
    update_common_teacher,
    update_teacher,
    warmed_up,
)


def toy(stored, prefix: str) -> nn.Module:
    """The conv and batch-norm toy of the golden file."""
    network = nn.Module()
    network.c, network.b = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
    state = {
        k.removeprefix(f"{prefix}/"): torch.from_numpy(np.asarray(stored[k]))
        for k in stored
        if k.startswith(f"{prefix}/")
    }
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize(("buffers", "key"), [("keep", "la"), ("average", "acdc")])
def test_the_published_updates(golden: Path, buffers: str, key: str) -> None:
    stored = np.load(golden / "ema_update.npz")
    teacher = toy(stored, "teacher_before").requires_grad_(False)
    update_teacher(teacher, toy(stored, "student"), 0.99, buffers)
    for name, value in toy(stored, f"teacher_after_{key}").state_dict().items():
        torch.testing.assert_close(teacher.state_dict()[name], value, atol=1e-6, rtol=0)


def test_copied_buffers_are_the_students() -> None:
    student = nn.BatchNorm1d(2)
    teacher = frozen_copy(student)
    student.running_mean.fill_(3.0)
    update_teacher(teacher, student, 0.99, "copy")
    assert torch.equal(teacher.running_mean, student.running_mean)


def test_a_constant_student_is_reached_and_not_overshot() -> None:
    """A teacher that decays to zero, a fault seen in public code, would fail here."""
    student, teacher = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)
    for _ in range(2000):
        update_teacher(teacher, student, 0.99, "keep")
    torch.testing.assert_close(teacher.weight, student.weight.detach(), atol=1e-5, rtol=0)


def test_a_frozen_copy_shares_nothing_and_takes_no_gradient() -> None:
    student = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    teacher = frozen_copy(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    storage = {p.data_ptr() for p in student.state_dict().values()}
    assert storage.isdisjoint(p.data_ptr() for p in teacher.state_dict().values())


def test_a_lazy_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="lazy modules"):
        frozen_copy(nn.LazyLinear(2))


def constant(value: float) -> nn.Module:
    layer = nn.BatchNorm1d(2)
    for tensor in (*layer.parameters(), layer.running_mean, layer.running_var):
        nn.init.constant_(tensor, value)
    return layer


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.99, 1.02), (1.0, 1.0), (0.0, 3.0)])
def test_a_common_teacher_starts_at_the_mean_of_its_students(share, expected: float) -> None:
    teacher, low, high = constant(0.0).requires_grad_(False), constant(1.0), constant(3.0)
    for step in range(5):
        decay = warmed_up(0.99, step)
        update_common_teacher(teacher, [(low, share), (high, 1.0 - share)], decay, "average")
        for tensor in (teacher.weight, teacher.bias, teacher.running_mean, teacher.running_var):
            torch.testing.assert_close(tensor, torch.full((2,), expected))


def test_a_step_of_a_common_teacher_after_the_warm_up() -> None:
    teacher, low, high = constant(0.0).requires_grad_(False), constant(1.0), constant(3.0)
    update_common_teacher(teacher, [(low, 0.5), (high, 0.5)], warmed_up(0.9, 9), "keep")
    torch.testing.assert_close(teacher.weight, torch.full((2,), 0.2))
    assert torch.equal(teacher.running_mean, torch.zeros(2))


def test_the_warm_up() -> None:
    found = [warmed_up(0.99, step) for step in (0, 1, 9, 98, 99, 5000)]
    assert found == pytest.approx([0.0, 0.5, 0.9, 98 / 99, 0.99, 0.99])


@pytest.mark.parametrize("steps", [50, 200, 800])
def test_the_average_of_the_latest_steps_is_a_tenth_of_them_behind(steps: int) -> None:
    network = nn.Linear(1, 1, bias=False)
    average = EmaTeacher(network, 0.99, "average", of_latest)
    for step in range(steps):
        nn.init.constant_(network.weight, float(step))
        average.follow(network, step)
    assert 0.05 * steps < steps - average.network.weight.item() < 0.13 * steps + 2


def test_the_average_of_the_latest_steps_keeps_at_most_the_decay() -> None:
    assert of_latest(0.99, 0) == pytest.approx(0.1)
    assert (of_latest(0.99, 10_000), of_latest(0.9, 10_000)) == (0.99, 0.9)


def test_an_average_answers_in_eval_mode_and_without_a_graph() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    teacher = EmaTeacher(student, 0.99, "copy").train()
    image = torch.randn(2, 1, 4, 4)
    assert torch.equal(teacher(image), teacher(image))
    assert not teacher(image).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert student.training
    student(image)
    teacher.follow(student, 0)  # the first step copies, statistics and all
    state = student.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in teacher.network.state_dict().items())


def test_an_average_of_a_constant_student_has_a_closed_form() -> None:
    student = nn.Linear(3, 2)
    teacher = EmaTeacher(student, 0.9, "copy")
    start = teacher.network.weight.clone()
    student.weight.data.fill_(1.0)
    for step in range(100, 105):
        teacher.follow(student, step)
    expected = (1 - 0.9**5) * student.weight + 0.9**5 * start
    torch.testing.assert_close(teacher.network.weight, expected)
