"""Hand-made tubes with and without a chamber."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def tube(
    radius: float,
    z: tuple[int, int] = (10, 40),
    center: tuple[float, float] = (20, 20),
    shape: tuple[int, int, int] = (41, 41, 50),
) -> Mask:
    """A straight tube along the third axis, in voxels."""
    x, y, height = np.indices(shape)
    inside = (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2
    return np.asarray(inside & (height >= z[0]) & (height < z[1]))


def molar(canals: dict[float, tuple[int, int]], radius: float = 1.0) -> Mask:
    """A chamber of 20x20x8 voxels at the top; below it canals at some x, from z to z."""
    mask = np.zeros((41, 41, 64), bool)
    mask[10:31, 10:31, 54:62] = True
    for x, z in canals.items():
        mask |= tube(radius, z, (x, 20), mask.shape)
    return mask
