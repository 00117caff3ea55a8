"""What the teacher of CFC-Net follows by each rule, and which students a rule allows."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medsemi.errors import ConfigError
from medsemi.methods.cfcnet import CFCNet
from medsemi.parts.ucf_mix import UCFMix

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_cfcnet.py"))))
network, batch, method, run = SMALL.network, SMALL.batch, SMALL.method, SMALL.run


def filled(rule: str, step: int) -> CFCNet:
    """Students of constant weights 1 and 3, teachers of 0, after one update."""
    net = method(teacher_rule=rule, ema_decay=0.9)
    for part, value in ((net.students.low, 1.0), (net.students.high, 3.0), (net.teacher, 0.0)):
        for p in part.parameters():
            p.data.fill_(value)
    net.after_step(step)
    return net


@pytest.mark.parametrize(
    ("rule", "step", "expected"),
    [
        ("mean", 0, 2.0),
        ("mean", 9, 0.2),
        ("low", 0, 1.02),
        ("alternate", 100, 0.1),
        ("alternate", 101, 0.3),
        ("alternate", 0, 1.0),
    ],
)
def test_what_the_teacher_follows(rule: str, step: int, expected: float) -> None:
    for p in filled(rule, step).teacher.parameters():
        torch.testing.assert_close(p.data, torch.full_like(p, expected))


def test_two_teachers_follow_one_student_each() -> None:
    teacher = filled("two", 9).teacher
    for part, expected in ((teacher.first, 0.1), (teacher.second, 0.3)):
        for p in part.parameters():
            torch.testing.assert_close(p.data, torch.full_like(p, expected))


@pytest.mark.parametrize("rule", ["mean", "alternate"])
def test_a_mean_of_students_that_start_apart_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="broken network"):
        CFCNet(network(0), network(1), teacher_rule=rule, rampup_steps=12_000)
    CFCNet(network(0), network(0), teacher_rule=rule, rampup_steps=12_000)


@pytest.mark.parametrize("rule", ["two", "low"])
def test_students_may_start_apart_under_other_rules(rule: str) -> None:
    assert run(
        CFCNet(
            network(0), network(1), teacher_rule=rule, mix=UCFMix(blocks=2), rampup_steps=12_000
        ),
        batch(),
    )


@pytest.mark.parametrize("rule", ["mean", "low", "alternate"])
def test_weights_of_two_architectures_are_not_averaged(rule: str) -> None:
    with pytest.raises(ConfigError, match="architecture; take 'two'"):
        CFCNet(network(), network(width=6), teacher_rule=rule, rampup_steps=12_000)
    net = CFCNet(
        network(), network(width=6), teacher_rule="two", mix=UCFMix(blocks=2), rampup_steps=12_000
    )
    run(net, batch()).total.backward()
    net.after_step(0)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="mean, two, low, alternate"):
        CFCNet(network(), teacher_rule="median", rampup_steps=12_000)
