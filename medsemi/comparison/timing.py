"""How long a training took, from the times that its steps were reported at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from medsemi.training.history import Row

# Loader processes deliver together: of N of them N - 1 batches come at once, and one takes as long as N. As
# many gaps make one typical time, and a gap of that many typical times is still training.
BURST = 16


def elapsed(history: Sequence[Row]) -> dict[int, float]:
    """Seconds of training up to each step.

    Only steps count: the gap after a validation, and one that is much longer than usual (a kill), count as
    the typical gap, and so does the first step, whose begin nobody reported.

    Args:
        history: of one stage, with a row `loss` per step, and rows `val/...` of the steps that were scored.

    Returns:
        Step -> seconds, ascending; empty where they are unknown: without two reported steps, or if every
        step was validated, so that each gap holds a validation.
    """
    times = {row.step: row.unix_seconds for row in history if row.name == "loss"}
    scored = {row.step for row in history if row.name.startswith("val/")}
    steps = sorted(times)
    gaps = {a: times[b] - times[a] for a, b in pairwise(steps)}
    usual = _typical([gap for step, gap in gaps.items() if step not in scored])
    if usual <= 0:
        return {}
    seconds, total = {}, 0.0
    for before, step in zip([None, *steps], steps, strict=False):
        gap = usual if before is None or before in scored else gaps[before]
        total += gap if 0 <= gap <= BURST * usual else usual
        seconds[step] = total
    return seconds


def _typical(gaps: Sequence[float]) -> float:
    """The median over the mean of `BURST` gaps in a row, or over single ones where there are fewer."""
    together = min(BURST, max(1, len(gaps) // BURST))
    means = [fmean(gaps[i : i + together]) for i in range(len(gaps) - together + 1)]
    return median(means) if means else 0.0


def peak_memory(history: Sequence[Row]) -> float | None:
    """Largest memory that was reported, MiB; None if none was."""
    return max((row.value for row in history if row.name == "memory_mib"), default=None)
