"""Whether a training still learns: its numbers are finite, and its teacher is one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# Dice that a teacher may lie below the better student. Measured on tubes: a mean of students that
# started apart lies 0.14 to 0.65 below, a sound teacher at most 0.01 after a trained start.
LARGEST_GAP = 0.05


def all_finite(loss: Tensor, values: Iterable[Tensor]) -> bool:
    """Whether a loss, and all weights and statistics of networks, are finite numbers.

    Gradients of a finite loss, or of another rank, may not be. A forward that overflows in fp16
    spoils the running statistics alone: its step is skipped, and the next losses do not use them.

    Args:
        loss: of a step, without a shape.
        values: weights and statistics, where the loss is; waited for once.
    """
    # NaN and infinity do not vanish from a sum.
    sums = [v.detach().sum(dtype=torch.float64) for v in values if v.is_floating_point()]
    return bool(torch.stack([loss.double(), *sums]).isfinite().all())


def teacher_gap(scores: Mapping[str, float]) -> float | None:
    """Return by how much the best teacher lies below the best student; negative if above.

    A sound average of weights is hardly worse than what it averages. One that is much worse gives
    pseudo-labels that hold the students back.

    Args:
        scores: Dice of each network by its name: `student`, or `student_` and which one; names of
            teachers begin with `teacher`. The mean of all `students` is none of them.

    Returns:
        The gap in Dice; None without a teacher or a student.
    """
    students = [score for name, score in scores.items() if re.match("student(_|$)", name)]
    teachers = [score for name, score in scores.items() if name.startswith("teacher")]
    return max(students) - max(teachers) if students and teachers else None
