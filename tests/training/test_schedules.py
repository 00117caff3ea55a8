"""Learning rates as functions of the step."""

from __future__ import annotations

import pytest

from medsemi.training.schedules import Constant, Polynomial, StepDecay


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-2), (2499, 1e-2), (2500, 1e-3), (4999, 1e-3), (5000, 1e-4), (14_999, 1e-7)],
)
def test_the_published_decay_is_the_default(step: int, rate: float) -> None:
    assert StepDecay()(step) == pytest.approx(rate, rel=1e-12)


def test_decay_takes_its_settings() -> None:
    assert StepDecay(1.0, 0.5, 10)(29) == 0.25


@pytest.mark.parametrize("step", [0, 1, 10**6])
def test_a_constant_does_not_change(step: int) -> None:
    assert Constant(0.03)(step) == 0.03


def test_polynomial_falls_from_the_rate_to_zero() -> None:
    rate = Polynomial(0.01, 100)
    assert rate(0) == 0.01
    assert rate(50) == pytest.approx(0.01 * 0.5**0.9)
    assert rate(100) == 0.0
    assert rate(150) == 0.0
    values = [rate(step) for step in range(101)]
    assert values == sorted(values, reverse=True)
    assert Polynomial(0.01, 100, power=1.0)(25) == pytest.approx(0.0075)


def test_text_numbers_of_a_configuration_are_numbers() -> None:
    # YAML reads 1e-2 without a dot as text.
    assert StepDecay(rate="1e-2")(0) == 0.01  # type: ignore[arg-type]
    assert isinstance(Constant(1)(0), float)
