"""Dice of two label maps, structure by structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.prediction.agreement import agreement_findings, dice_of_labels
from medsemi.prediction.model import Label

LABELS = tuple(Label(number, f"s{number}") for number in (1, 2, 3))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), dtype=st.sampled_from([np.uint8, np.uint16]))
def test_dice_is_twice_the_common_part(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, (2, 7, 6, 5)).astype(dtype)
    for number, dice in enumerate(dice_of_labels(one, other, LABELS).values(), start=1):
        a, b = one == number, other == number
        assert dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_extremes() -> None:
    one = np.zeros((4, 4, 4), np.uint8, order="F")
    other = one.copy(order="F")
    one[0], other[1] = 1, 1
    one[2], other[2] = 2, 2
    assert dice_of_labels(one, other, LABELS) == {"s1": 0.0, "s2": 1.0, "s3": None}


def test_low_agreement_is_reported_and_unknown_is_not() -> None:
    findings = agreement_findings({"a": 0.79, "b": 0.8, "c": None, "d": 0.0}, 0.8)
    assert [finding.values["label"] for finding in findings] == ["a", "d"]
    assert findings[0].text.startswith(
        "Student and teacher network disagree on a (Dice 0.79). Check"
    )
