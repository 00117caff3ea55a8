"""Options of methods, refused in one sentence before a training begins.

Most values that make no sense fail late or not at all: a threshold of 95 counts no voxel, and the
training runs to its end. Options are given by name, which the sentence tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from medsemi.errors import ConfigError


def check_choice(choices: Sequence[object], **options: object) -> None:
    """Refuse an option that is none of `choices`.

    Raises:
        ConfigError: which names the option and the choices.
    """
    for name, value in options.items():
        if value not in choices:
            *others, last = map(str, choices)
            known = f"{', '.join(others)} or {last}"
            raise ConfigError(f"{name} is {value!r}; take {known}.")


def check_range(low: float, high: float = math.inf, /, **options: object) -> None:
    """Refuse an option that is no number from `low` to `high`, both included.

    Raises:
        ConfigError: which names the option and the range.
    """
    for name, value in options.items():
        if not (isinstance(value, Real) and low <= float(value) <= high):
            raise ConfigError(f"{name} is {value!r}; give {_told(low, high)}.")


def check_positive(**options: object) -> None:
    """Refuse an option that is no number above 0.

    Raises:
        ConfigError: which names the option.
    """
    for name, value in options.items():
        if not (isinstance(value, Real) and float(value) > 0):
            raise ConfigError(f"{name} is {value!r}; give more than 0.")


def check_bounds(low: float, high: float = math.inf, /, **options: object) -> None:
    """Refuse an option that is no pair of numbers from `low` to `high`, the lower one first.

    Raises:
        ConfigError: which names the option and the range.
    """
    for name, value in options.items():
        pair = value if isinstance(value, Sequence) and len(value) == 2 else ()
        numbers = [float(one) for one in pair if isinstance(one, Real)]
        if len(numbers) < 2 or not low <= numbers[0] <= numbers[1] <= high:
            raise ConfigError(
                f"{name} is {value!r}; give two numbers, the lower one first, each"
                f" {_told(low, high)}."
            )


def _told(low: float, high: float) -> str:
    if low == -math.inf:
        return "of any size"
    return f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
