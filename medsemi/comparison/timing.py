"""How long a training took, from the times that its steps were reported at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from medsemi.training.history import Row

# A gap that is this many times the usual one holds a validation, a checkpoint or a pause.
LONGEST_GAP = 5.0


def elapsed(history: Sequence[Row]) -> dict[int, float]:
    """Seconds of training up to each step.

    Only steps count: a gap between two steps that is much longer than usual (validation, pictures, a
    kill) counts as the median gap, and so does the first step, whose begin nobody reported.

    Args:
        history: of one stage, with a row `loss` per step.

    Returns:
        Step -> seconds, ascending; empty without two reported steps.
    """
    times = {row.step: row.unix_seconds for row in history if row.name == "loss"}
    steps = sorted(times)
    gaps = [times[b] - times[a] for a, b in pairwise(steps)]
    usual = median(gaps) if gaps else 0.0
    if usual <= 0:
        return {}
    seconds, total = {}, 0.0
    for step, gap in zip(steps, [usual, *gaps], strict=True):
        total += gap if 0 <= gap <= LONGEST_GAP * usual else usual
        seconds[step] = total
    return seconds


def peak_memory(history: Sequence[Row]) -> float | None:
    """Largest memory that was reported, MiB; None if none was."""
    return max((row.value for row in history if row.name == "memory_mib"), default=None)
