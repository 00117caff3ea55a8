"""The same trainings at equal wall-clock, read off from their validation curves.

Nothing is trained again: the value of a method is its last validation at or before that time. A
training with a falling learning rate would have ended better had it been planned for that time, so a
method with costly steps is shown somewhat worse here than it could be; by how much is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medsemi.comparison.jobs import TWIN
from medsemi.comparison.records import CurvePoint, Record
from medsemi.comparison.summary import Spread


@dataclass(frozen=True)
class TimeRow:
    """A method after a while.

    Attributes:
        method: its name.
        seeds: trainings with a validation by then.
        steps: student steps at that validation.
        dice: validation Dice of the deployed network.
        difference: to the twin with the same seeds; NaN for the twin, or without it.
    """

    method: str
    seeds: int
    steps: Spread
    dice: Spread
    difference: Spread


def shortest(records: Sequence[Record]) -> float:
    """The longest time that every training has reached, seconds; 0 without trainings."""
    return min((record.seconds for record in records), default=0.0)


def at_time(records: Sequence[Record], seconds: float) -> list[TimeRow]:
    """Read all methods off at `seconds` of training; a row per method, the twin first."""
    reached: dict[str, dict[int, CurvePoint]] = {}
    for record in sorted(records, key=lambda r: (r.method != TWIN, r.method, r.seed)):
        points = [point for point in record.curve if point.seconds <= seconds]
        by_seed = reached.setdefault(record.method, {})
        if points:
            by_seed[record.seed] = points[-1]
    twin = reached.get(TWIN, {})
    return [_row(method, by_seed, twin) for method, by_seed in reached.items()]


def _row(method: str, points: dict[int, CurvePoint], twin: dict[int, CurvePoint]) -> TimeRow:
    gains = [point.dice - twin[seed].dice for seed, point in points.items() if seed in twin]
    none = Spread(math.nan, math.nan)
    return TimeRow(
        method,
        len(points),
        Spread.of([point.step for point in points.values()]),
        Spread.of([point.dice for point in points.values()]),
        none if method == TWIN else Spread.of(gains),
    )
