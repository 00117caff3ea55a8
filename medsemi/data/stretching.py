"""The published windows of the cardiac (ACDC) results: whole slices, changed and then stretched.

Source: BCP, `dataloaders/dataset.py` (RandomGenerator), inherited from SSL4MIS: half of the slices are
turned and mirrored, a quarter is rotated by -20 to 19 degrees, a quarter stays; each is then resized
to the window, whatever its shape, by `scipy.ndimage.zoom` of order 0, image and label alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ANGLES = (-20, 20)


@dataclass(frozen=True, slots=True)
class SliceChange:
    """The random decisions of one slice.

    Attributes:
        turns: quarter turns.
        flips: axes that are mirrored, after the turn.
        angle: of a rotation, in degrees; 0 rotates nothing.
    """

    turns: int = 0
    flips: tuple[int, ...] = ()
    angle: int = 0


def draw_change(generator: np.random.Generator) -> SliceChange:
    """Draw what happens to one slice; all numbers come from `generator`."""
    if generator.random() > 0.5:
        return SliceChange(int(generator.integers(4)), (int(generator.integers(2)),))
    if generator.random() > 0.5:
        return SliceChange(angle=int(generator.integers(*ANGLES)))
    return SliceChange()


def changed(array: NDArray[Any], change: SliceChange) -> NDArray[Any]:
    """Turn, mirror and rotate a slice; corners that a rotation leaves open are 0.

    Args:
        array: (..., x, y); image and label are treated alike.
        change: from `draw_change`.

    Returns:
        An array of the same type, its last two axes exchanged by an odd number of turns.
    """
    array = np.rot90(array, change.turns, axes=(-2, -1))
    array = np.flip(array, tuple(axis - 2 for axis in change.flips))
    if change.angle:
        array = ndimage.rotate(array, change.angle, axes=(-2, -1), order=0, reshape=False)
    return array


def stretched(array: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """Resize the last axes to `size` by nearest neighbors on a grid aligned at the corners.

    Args:
        array: (..., *space).
        size: of the result along each axis of space.
    """
    space = array.shape[array.ndim - len(size) :]
    chosen = [nearest_indices(n, wanted) for n, wanted in zip(space, size, strict=True)]
    for axis, indices in enumerate(chosen, start=-len(size)):
        array = np.take(array, indices, axis)
    return array


def nearest_indices(length: int, size: int) -> NDArray[np.int64]:
    """Which voxel of an axis each voxel of the resized axis takes.

    Args:
        length: of the axis.
        size: of the resized axis.

    Source: `scipy.ndimage.zoom` of order 0. Deviation: where rounding carries the last place beyond
    the axis, scipy returns 0; here it is the last voxel (256 to 32 is such a case).
    """
    step = (length - 1) / (size - 1) if size > 1 else 0.0
    places: NDArray[np.int64] = np.floor(np.arange(size) * step + 0.5).astype(np.int64)
    return places.clip(max=length - 1)
