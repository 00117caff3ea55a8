"""Which students fit which rule of their common teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.parts.teacher_rules import TEACHER_RULES, check_teacher_rule


def start(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.89])
def test_a_mixture_of_two_starts_is_no_network(share: float) -> None:
    with pytest.raises(ConfigError, match=r"low_share is .*; such a mean is a broken network"):
        check_teacher_rule("low", start(0), start(1), share)
    check_teacher_rule("low", start(0), start(0), share)


@pytest.mark.parametrize("share", [0.99, 1.0, 0.0])
def test_nearly_one_of_two_starts_is_one(share: float) -> None:
    check_teacher_rule("low", start(0), start(1), share)


@pytest.mark.parametrize("rule", TEACHER_RULES)
def test_one_object_is_not_two_students(rule: str) -> None:
    network = start(0)
    with pytest.raises(ConfigError, match="one student and not two"):
        check_teacher_rule(rule, network, network, 0.99)
