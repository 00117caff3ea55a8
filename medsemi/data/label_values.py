"""The values of a label map, and the refusal of those that are no class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.errors import DataError

# How far from a whole number a value may be: a slope in a header rounds, and classes are whole.
_TOLERANCE = 1e-3


def near_whole(array: NDArray[Any]) -> NDArray[Any]:
    """Values near a whole number as that number, all others as they are."""
    if array.dtype.kind in "biu":
        return array
    whole = np.rint(array)
    result: NDArray[Any] = np.where(np.abs(array - whole) <= _TOLERANCE, whole, array)
    return result


def distinct_values(array: NDArray[Any]) -> NDArray[Any]:
    """The distinct values of a label map, sorted, those near a whole number as that number."""
    if array.dtype == np.uint8:
        # Counting is much faster than sorting a volume.
        return np.flatnonzero(np.bincount(array.ravel(order="K"), minlength=256))
    return np.unique(near_whole(np.unique(array)))


def as_classes(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """A prepared label map in the type that is stored, which holds 0 to 255.

    Args:
        array: label values.
        path: of the label, for the message.

    Raises:
        DataError: a value is not near one of these numbers.
    """
    whole = near_whole(array)
    classes: NDArray[np.uint8] = np.clip(np.nan_to_num(whole), 0, 255).astype(np.uint8)
    if not np.array_equal(classes, whole):
        raise DataError(
            f"{path}: its preparation gives values that are no whole numbers from 0 to 255; store such"
            " numbers, and resample labels by the nearest neighbor."
        )
    return classes


def refuse_other_values(values: Iterable[float], classes: Mapping[int, str], path: Path) -> None:
    """Refuse values outside the classes, which would be trained on as something else.

    Args:
        values: the distinct values of a label map, see `distinct_values`.
        classes: name of each value that may be there.
        path: of the label, for the message.

    Raises:
        DataError: there are others.
    """
    wrong = [value for value in values if value not in classes]
    broken = [value for value in wrong if value % 1 != 0]
    if broken:
        raise DataError(
            f"{path}: the label has the values {_shown(broken)}, which are no whole numbers: scl_slope of"
            " its header or a resampling made them; store whole numbers."
        )
    if wrong:
        raise DataError(
            f"{path}: the label has the values {_shown(wrong)} outside the classes"
            f" {sorted(classes)}; remap them or add them to 'classes'."
        )


def _shown(values: list[float]) -> str:
    more = " ..." if len(values) > 5 else ""
    return "{" + ", ".join(f"{value:g}" for value in values[:5]) + more + "}"
