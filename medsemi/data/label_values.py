"""The values of a label map, and the refusal of those that are no class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.errors import DataError


def distinct_values(array: NDArray[Any]) -> NDArray[Any]:
    """The distinct values of a label map, sorted."""
    if array.dtype == np.uint8:
        # Counting is much faster than sorting a volume.
        return np.flatnonzero(np.bincount(array.ravel(order="K"), minlength=256))
    return np.unique(array)


def refuse_other_values(values: Iterable[float], classes: Mapping[int, str], path: Path) -> None:
    """Refuse values outside the classes, which would be trained on as something else.

    Args:
        values: the distinct values of a label map.
        classes: name of each value that may be there.
        path: of the label, for the message.

    Raises:
        DataError: there are others.
    """
    wrong = [value for value in values if value not in classes]
    if wrong:
        shown = ", ".join(f"{value:g}" for value in wrong[:5]) + (" ..." if len(wrong) > 5 else "")
        raise DataError(
            f"{path}: the label has the values {{{shown}}} outside the classes"
            f" {sorted(classes)}; remap them or add them to 'classes'."
        )
