"""Dual mean teacher: what both teachers say counts, what one says does not, and samples are filtered."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from medsemi.methods.dual_mean_teacher import DualMeanTeacher
from medsemi.parts.pseudo_labels import pseudo_loss

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def method(**settings) -> DualMeanTeacher:
    torch.manual_seed(0)
    one, other = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1)
    return DualMeanTeacher(one, other, **{"warmup_steps": 10, "rampup_steps": 10} | settings)


def sure(label: list[int], confidence: float = 0.9) -> torch.Tensor:
    """Logits of one row of voxels for three classes."""
    rest = (1 - confidence) / 2
    rows = [[confidence if c == one else rest for c in range(3)] for one in label]
    return torch.tensor(rows).log().T.view(1, 3, 1, -1)


def test_the_reference_numbers(reference_logits) -> None:
    net = method(threshold=0.0, sample_threshold=0.0)
    answers = [reference_logits.a, reference_logits.b]
    _, weight, _ = net.consensus(answers)
    assert weight.mean().item() == pytest.approx(0.30)
    net.threshold = 0.6
    assert net.consensus(answers)[1].mean().item() == pytest.approx(0.15)


def test_equal_teachers_leave_the_threshold_and_opposite_ones_nothing() -> None:
    net = method()
    equal, _, monitors = net.consensus([sure([0, 1, 2, 1])] * 2)
    assert equal.tolist() == [[[0, 1, 2, 1]]]
    assert monitors["mask"] == 1.0
    assert net.consensus([sure([0, 1, 2, 1], 0.7)] * 2)[1].sum() == 0.0
    _, weight, _ = net.consensus([sure([1, 1, 2]), sure([2, 0, 1])])
    assert weight.sum() == 0.0


def test_a_voxel_of_conflict_is_ignored_and_never_background() -> None:
    one, other = sure([1, 1, 1, 0]), sure([1, 1, 0, 0], 0.95)
    _, weight, _ = method().consensus([one, other])
    assert weight.tolist() == [[[1.0, 1.0, 0.0, 1.0]]]
    target, weight, _ = method(conflict_weight=0.5).consensus([one, other])
    assert weight.tolist() == [[[1.0, 1.0, 0.5, 1.0]]]
    assert target.tolist() == [[[1, 1, 0, 0]]]  # of the surer one


def test_in_a_conflict_one_sure_teacher_is_enough() -> None:
    """Sure and unsure, unsure and sure, both unsure."""
    one = torch.cat([sure([1]), sure([1], 0.6), sure([1], 0.6)], dim=3)
    other = torch.cat([sure([2], 0.6), sure([2]), sure([2], 0.7)], dim=3)
    net = method(threshold=0.8, sample_threshold=0.0, conflict_weight=0.5)
    target, weight, _ = net.consensus([one, other])
    assert weight.tolist() == [[[0.5, 0.5, 0.0]]]
    assert target.tolist() == [[[1, 2, 2]]]


@pytest.mark.parametrize("whole", [0, 1])
def test_a_weight_of_conflict_may_be_a_whole_number(whole: int) -> None:
    one, other = sure([1, 1, 1, 0]), sure([1, 1, 0, 0], 0.95)
    _, weight, monitors = method(conflict_weight=whole).consensus([one, other])
    assert weight.tolist() == [[[1.0, 1.0, float(whole), 1.0]]]
    assert monitors["mask"] == (3 + whole) / 4


def test_a_sample_is_dropped_by_the_dice_of_foregrounds() -> None:
    low, high = sure([1, 1, 1, 0, 0, 0]), sure([0, 0, 1, 1, 1, 0])
    _, weight, monitors = method(sample_threshold=0.5).consensus([low, high])  # Dice 1/3
    assert weight.sum() == 0.0
    assert monitors["kept_samples"] == 0.0
    assert method(sample_threshold=0.3).consensus([low, high])[1].sum() == 2.0
    empty = sure([0, 0, 0, 0])
    assert method().consensus([empty, empty])[1].sum() == 4.0  # two empty foregrounds agree


def test_the_warm_up_learns_labels_alone() -> None:
    net, data = method(), batch()
    draws = net.draw(data, torch.Generator())
    assert draws.views[0] != draws.views[1]
    names = {"dice_labeled_a", "ce_labeled_a", "dice_labeled_b", "ce_labeled_b"}
    assert net(data, draws, 9).terms.keys() == names
    later = net(data, draws, 10)
    assert later.terms.keys() == names | {"pseudo_a", "pseudo_b"}
    assert later.weights["pseudo_a"] == pytest.approx(0.0067379, abs=1e-6)
    assert net(data, draws, 20).weights["pseudo_b"] == 1.0


def test_each_student_learns_the_consensus_on_its_own_view() -> None:
    net, data = method(threshold=0.0, sample_threshold=0.0, conflict_weight=0.5), batch()
    draws, unlabeled = net.draw(data, torch.Generator().manual_seed(3)), data.unlabeled.image
    with torch.no_grad():  # so that what a student says is not what its teacher says
        for student in (net.student_a, net.student_b):
            student.weight[1] += 0.5
    answers = [net.teachers.first(unlabeled), net.teachers.second(unlabeled)]
    target, weight, _ = net.consensus(answers)
    terms = net(data, draws, 20).terms
    students = {"a": net.student_a, "b": net.student_b}
    for (name, student), view in zip(students.items(), draws.views, strict=True):
        logits = student(net.strong(unlabeled, view))
        expected = pseudo_loss(logits, target, weight, dice=net.dice, dice_weight=0.5)
        torch.testing.assert_close(terms[f"pseudo_{name}"], expected)


def test_each_teacher_follows_its_own_student() -> None:
    net = method(ema_decay=0.9)
    old = net.teachers.first.weight.clone()
    net.student_a.weight.data += 1.0
    other = net.student_b.weight.clone()
    net.after_step(1000)
    torch.testing.assert_close(net.teachers.first.weight, old + 0.1)
    torch.testing.assert_close(net.teachers.second.weight.data, other)
    net.train()
    assert not net.teachers.training
    assert not net.teachers.first.training
