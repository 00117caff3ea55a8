"""What the one teacher of two students follows, and which students fit which rule."""

from __future__ import annotations

from typing import Literal

from torch import nn

from medsemi.errors import ConfigError
from medsemi.parts.checked_options import check_range

TeacherRule = Literal["mean", "two", "low", "alternate"]
TEACHER_RULES = ("mean", "two", "low", "alternate")
# Of one student in the mean of two that start apart, below which it is no network; UCMT has 0.99.
NEARLY_ALL = 0.9


def check_teacher_rule(rule: str, low: nn.Module, high: nn.Module, low_share: float) -> None:
    """Refuse a teacher that would be no network.

    Args:
        rule: `mean` of both students, `two` teachers, mostly the `low` student, or `alternate`.
        low: one student.
        high: the other one.
        low_share: of the low student under the rule `low`, from 0 to 1.

    Raises:
        ConfigError: if the students do not fit the rule or are one object, or an option is out of
            its range.
    """
    check_range(0, 1, low_share=low_share)
    if low is high:
        raise ConfigError(
            "network and network_high are one object, which is one student and not two; leave"
            " network_high out, or give it a network of its own."
        )
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
    if rule == "two" or all(v.equal(theirs[k]) for k, v in ours.items()):
        return
    if rule == "low" and max(low_share, 1.0 - low_share) < NEARLY_ALL:
        raise ConfigError(
            f"low_share is {low_share} and the students start from different weights; such a mean is"
            f" a broken network, so give {NEARLY_ALL} or more, or one network for both."
        )
    if rule in {"mean", "alternate"}:
        raise ConfigError(
            f"teacher_rule is '{rule}' and the students start from different weights; the mean of"
            " two such networks is a broken network, so give one network for both, or take 'two'."
        )
