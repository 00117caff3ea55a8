"""Learning rates as pure functions of the step, so that nothing has to be saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from medsemi.errors import ConfigError


@dataclass(frozen=True)
class StepDecay:
    """Multiply the rate by `factor` after every `every` steps.

    The published left-atrium self-training: 0.01, times 0.1 every 2,500 steps
    (BCP, `LA_BCP_train.py`).
    """

    rate: float = 0.01
    factor: float = 0.1
    every: int = 2500

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        return float(self.rate) * float(self.factor) ** (step // self.every)


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    rate: float = 0.01

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        return float(self.rate)


@dataclass(frozen=True)
class Polynomial:
    """Let the rate fall to zero over `steps`, as (1 - step / steps) ** power."""

    rate: float
    steps: int
    power: float = 0.9

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        left = max(1.0 - step / self.steps, 0.0)
        return float(self.rate) * float(left ** float(self.power))


@dataclass(frozen=True)
class Cosine:
    """Let the rate fall to zero over `steps` along half a cosine.

    Source: Loshchilov, Hutter: SGDR, ICLR 2017, without restarts.
    """

    rate: float
    steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        done = min(step / self.steps, 1.0)
        return float(self.rate) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class WarmUp:
    """Let the rate of another schedule rise linearly over the first `steps`."""

    schedule: Callable[[int], float]
    steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        return self.schedule(step) * min((step + 1) / self.steps, 1.0)


def build_schedule(
    rule: str,
    *,
    rate: float,
    steps: int,
    warmup_steps: int = 0,
    factor: float = 0.1,
    every: int = 2500,
    power: float = 0.9,
) -> Callable[[int], float]:
    """Return the schedule that a configuration names.

    Args:
        rule: `constant`, `step` (`StepDecay`), `polynomial` or `cosine`.
        rate: the highest learning rate.
        steps: length of the training, over which `polynomial` and `cosine` fall to zero.
        warmup_steps: first steps, in which the rate rises; 0 for none.
        factor: of `step`, above 0 and at most 1.
        every: of `step`.
        power: of `polynomial`.

    Raises:
        ConfigError: for an unknown rule, a factor or a length that cannot be, no step, or a warm-up that
            is longer than the training.
    """
    schedules: dict[str, Callable[[int], float]] = {
        "constant": Constant(rate),
        "step": StepDecay(rate, factor, every),
        "polynomial": Polynomial(rate, steps, power),
        "cosine": Cosine(rate, steps),
    }
    if rule not in schedules:
        known = ", ".join(schedules)
        raise ConfigError(f"schedule_rule is '{rule}'; it must be published or one of {known}.")
    if not 0 < float(factor) <= 1:
        raise ConfigError(f"decay_factor is {factor}; give more than 0, to 1.")
    if every < 1:
        raise ConfigError(f"decay_every is {every}; give 1 or more.")
    if steps < 1:
        raise ConfigError(
            f"the training has {steps} steps; give pretrain_steps and train_steps of 1 or more."
        )
    if not 0 <= warmup_steps <= steps:
        raise ConfigError(
            f"warmup_steps is {warmup_steps}; give 0 to {steps}, the training's steps."
        )
    return WarmUp(schedules[rule], warmup_steps) if warmup_steps else schedules[rule]
