"""Fields on the voxel grid that phantoms are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def voxel_centers(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Array:
    """Millimetres from the middle of the volume.

    Args:
        shape: voxels along x, y and z.
        spacing: voxel edges in mm.

    Returns:
        Positions, shape (3, x, y, z).
    """
    axes = [(np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def smooth_field(shape: tuple[int, ...], waves: int, generator: np.random.Generator) -> Array:
    """Random cosines up to so many half waves along each edge.

    Args:
        shape: voxels along x, y and z.
        waves: largest number of half waves along an edge.
        generator: where the amplitudes come from.

    Returns:
        The field, shape (x, y, z); its largest value is 1 or -1.
    """
    field = generator.normal(size=(waves + 1,) * 3)
    for n in shape:
        waveform = np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(waves + 1)) / n)
        # Each turn replaces the first axis and puts the new one last: after three, x, y, z.
        field = np.tensordot(field, waveform, axes=(0, 1))
    return np.asarray(field / np.abs(field).max())
