"""How far two networks agree: the Dice of their label maps, structure by structure.

A mean-teacher training leaves a student and a teacher. Where both lie in the bundle, both segment each
case, which doubles the time of the network; memory grows by one label map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Label

Labels = NDArray[np.unsignedinteger[Any]]


def dice_of_labels(one: Labels, other: Labels, labels: Sequence[Label]) -> dict[str, float | None]:
    """Dice of each structure in two label maps.

    Args:
        one: (column, row, slice).
        other: of the same shape.
        labels: structures by number, from 1.

    Returns:
        Dice by name; None for a structure that neither map holds.
    """
    classes = len(labels) + 1
    sizes, common = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for first, second in zip(one.T, other.T, strict=True):  # slice by slice, in memory order
        sizes += np.bincount(first.ravel(), minlength=classes)
        sizes += np.bincount(second.ravel(), minlength=classes)
        common += np.bincount(first[first == second], minlength=classes)
    return {
        label.name: float(2 * common[label.number] / sizes[label.number])
        if sizes[label.number]
        else None
        for label in labels
    }


def agreement_findings(agreement: Mapping[str, float | None], limit: float) -> tuple[Finding, ...]:
    """W08 for each structure whose agreement lies below `limit`."""
    return tuple(
        Finding("W08", {"label": name, "dice": f"{dice:.2f}"})
        for name, dice in agreement.items()
        if dice is not None and dice < limit
    )
