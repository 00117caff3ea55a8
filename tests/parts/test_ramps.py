"""The ramp, by its published values."""

from __future__ import annotations

import pytest

from medsemi.parts.ramps import linear_ramp, sigmoid_ramp


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0067379), (50, 0.286505), (100, 1.0), (1000, 1.0)]
)
def test_the_ramp(step: int, expected: float) -> None:
    assert sigmoid_ramp(step, 100) == pytest.approx(expected, abs=1e-6)


def test_a_ramp_of_no_length_is_over() -> None:
    assert sigmoid_ramp(0, 0) == 1.0


def test_the_linear_ramp() -> None:
    assert [linear_ramp(step, 4) for step in (0, 1, 2, 4, 9)] == [0.0, 0.25, 0.5, 1.0, 1.0]
    assert linear_ramp(0, 0) == 1.0
