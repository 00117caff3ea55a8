"""The same trainings at equal wall-clock, read off from their validation curves.

Nothing is trained again: the value of a method is its last validation at or before that time. A
training with a falling learning rate would have ended better had it been planned for that time, so a
method with costly steps is shown somewhat worse here than it could be; by how much is not known.
"""

from __future__ import annotations

import math
from collections import Counter
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
        seconds: of training until then; less where a training had ended before.
        steps: student steps at that validation.
        dice: validation Dice of the deployed network.
        difference: to the twin with the same seeds and machine; NaN for the twin, or without it.
        untimed: trainings whose time is unknown, so that they are left out.
    """

    method: str
    seeds: int
    seconds: Spread
    steps: Spread
    dice: Spread
    difference: Spread
    untimed: int


def shortest(records: Sequence[Record]) -> float:
    """The longest time that every training has reached whose time is known, seconds; 0 without any."""
    return min((r.seconds for r in records if r.seconds is not None), default=0.0)


def at_time(records: Sequence[Record], seconds: float) -> list[TimeRow]:
    """Read all methods off at `seconds` of training; a row per method, the twin first."""
    reached: dict[str, list[_Reached]] = {}
    for record in sorted(records, key=lambda r: (r.method != TWIN, r.method, r.seed)):
        points = _until(record, seconds)
        found = reached.setdefault(record.method, [])
        if points and record.seconds is not None:
            found.append(_Reached(record, points[-1], min(seconds, record.seconds)))
    twins = reached.get(TWIN, [])
    untimed = Counter(record.method for record in records if record.seconds is None)
    return [_row(method, found, twins, untimed[method]) for method, found in reached.items()]


def gain_in_the_same_minutes(record: Record, other: Record) -> float | None:
    """Validation Dice of a training after the time that another one took, minus the other's at its end.

    None where the two ran on different machines, one had no validation by then, or a time is unknown.
    """
    reached = [] if other.seconds is None else _until(record, other.seconds)
    if not reached or not other.curve or record.machine != other.machine:
        return None
    return reached[-1].dice - other.curve[-1].dice


def _until(record: Record, seconds: float) -> list[CurvePoint]:
    return [p for p in record.curve if p.seconds is not None and p.seconds <= seconds]


@dataclass(frozen=True)
class _Reached:
    record: Record
    point: CurvePoint
    seconds: float

    @property
    def alike(self) -> tuple[int, str]:
        """What two trainings share that can be compared by the clock."""
        return self.record.seed, self.record.machine


def _row(
    method: str, found: Sequence[_Reached], twins: Sequence[_Reached], untimed: int
) -> TimeRow:
    of_twin = {one.alike: one.point.dice for one in twins}
    gains = [one.point.dice - of_twin[one.alike] for one in found if one.alike in of_twin]
    none = Spread(math.nan, math.nan)
    return TimeRow(
        method,
        len(found),
        Spread.of([one.seconds for one in found]),
        Spread.of([one.point.step for one in found]),
        Spread.of([one.point.dice for one in found]),
        none if method == TWIN else Spread.of(gains),
        untimed,
    )
