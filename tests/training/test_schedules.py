"""Learning rates as functions of the step."""

from __future__ import annotations

import pytest

from medsemi.errors import ConfigError
from medsemi.training.schedules import (
    Constant,
    Cosine,
    Polynomial,
    StepDecay,
    WarmUp,
    build_schedule,
)


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


def test_a_cosine_falls_from_the_rate_to_zero() -> None:
    rate = Cosine(0.01, 100)
    assert [rate(s) for s in (0, 50, 100, 150)] == pytest.approx([0.01, 0.005, 0, 0], abs=1e-12)
    assert rate(25) == pytest.approx(0.01 * (1 + 0.5**0.5) / 2)


def test_a_warm_up_rises_to_the_schedule() -> None:
    rate = WarmUp(Constant(0.1), 4)
    assert [rate(step) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_schedules_by_name() -> None:
    options = {"rate": 0.01, "steps": 100}
    assert build_schedule("constant", **options) == Constant(0.01)
    assert build_schedule("step", **options, factor=0.5, every=7) == StepDecay(0.01, 0.5, 7)
    assert build_schedule("polynomial", **options) == Polynomial(0.01, 100)
    assert build_schedule("polynomial", **options, power=2.0) == Polynomial(0.01, 100, 2.0)
    warm = build_schedule("cosine", **options, warmup_steps=10)
    assert warm(0) == pytest.approx(0.001)
    assert warm(50) == Cosine(0.01, 100)(50)
    with pytest.raises(ConfigError, match=r"schedule_rule is 'poly'.*polynomial"):
        build_schedule("poly", **options)
    with pytest.raises(ConfigError, match="has -3 steps; give pretrain_steps and train_steps"):
        build_schedule("constant", rate=0.01, steps=-3)
    with pytest.raises(ConfigError, match="warmup_steps is 101"):
        build_schedule("constant", **options, warmup_steps=101)


@pytest.mark.parametrize("factor", [-1, 0, 1.5, float("nan")])
def test_a_decay_that_turns_the_rate_around_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match=f"decay_factor is {factor}; give more than 0, to 1"):
        build_schedule("step", rate=0.01, steps=100, factor=factor)
    assert build_schedule("step", rate=0.01, steps=100, factor=1)(99) == 0.01
