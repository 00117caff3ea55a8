"""What the one teacher of two students follows, and which students fit which rule."""

from __future__ import annotations

from typing import Literal

from torch import nn

from medsemi.errors import ConfigError

TeacherRule = Literal["mean", "two", "low", "alternate"]
TEACHER_RULES = ("mean", "two", "low", "alternate")


def check_teacher_rule(rule: str, low: nn.Module, high: nn.Module) -> None:
    """Refuse a teacher that would be no network.

    Args:
        rule: `mean` of both students, `two` teachers, mostly the `low` student, or `alternate`.
        low: one student.
        high: the other one.

    Raises:
        ConfigError: if the students do not fit the rule.
    """
    if rule not in TEACHER_RULES:
        raise ConfigError(
            f"teacher_rule is '{rule}'; it must be one of {', '.join(TEACHER_RULES)}."
        )
    ours, theirs = low.state_dict(), high.state_dict()
    same_shapes = {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    if rule != "two" and not same_shapes:
        raise ConfigError(
            f"teacher_rule is '{rule}', which averages the weights of both students, and they"
            " differ in architecture; take 'two'."
        )
    if rule in {"mean", "alternate"} and any(not v.equal(theirs[k]) for k, v in ours.items()):
        raise ConfigError(
            f"teacher_rule is '{rule}' and the students start from different weights; the mean of"
            " two such networks is a broken network, so give one network for both, or take 'two'."
        )
