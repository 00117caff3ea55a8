"""Missing and uneven slices: a regular stack by linear interpolation along the normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def regular_stack(
    planes: NDArray[np.float32], index: Sequence[float], count: int
) -> NDArray[np.float32]:
    """Put planes where they belong on a regular axis and interpolate linearly between them.

    Args:
        planes: (source slices, rows, columns), finite.
        index: of each, where it lies on the new axis; ascending.
        count: of slices on the new axis.

    Returns:
        (count, rows, columns); `planes` itself where they are the new axis already. Beyond the
        first and last source slice these are repeated.
    """
    where = np.asarray(index, np.float64)
    if len(where) == count and np.abs(where - np.arange(count)).max() < 1e-3:
        return planes
    filled = np.empty((count, *planes.shape[1:]), np.float32)
    source = np.interp(np.arange(count), where, np.arange(len(where)))
    for number, position in enumerate(source):
        below = int(position + 1e-3)
        weight = np.float32(position - below)
        filled[number] = planes[below]
        if abs(weight) > 1e-3:
            filled[number] += weight * (planes[below + 1] - planes[below])
    return filled
