"""Learning rates as pure functions of the step, so that nothing has to be saved."""

from __future__ import annotations

from dataclasses import dataclass


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
