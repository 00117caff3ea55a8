"""Where each structure lies on its lattice, found in one pass without a copy of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.model import Label


@dataclass(frozen=True, slots=True)
class Extent:
    """Where one structure lies.

    Attributes:
        voxels: its number of voxels, at least 1.
        center: a plane along each axis (column, row, slice): that of the centroid; where a structure
            in several parts leaves that plane empty, the one that holds most of it.
        first: least index along each axis.
        last: greatest index along each axis.
    """

    voxels: int
    center: tuple[int, int, int]
    first: tuple[int, int, int]
    last: tuple[int, int, int]


def label_extents(
    labels: NDArray[np.unsignedinteger[Any]], structures: tuple[Label, ...]
) -> dict[int, Extent]:
    """Find the extents of the structures that are there.

    Args:
        labels: indexed (column, row, slice).
        structures: what may occur; other numbers are ignored.

    Returns:
        Number of the structure -> its extent; only structures with at least one voxel.
    """
    most = max((structure.number for structure in structures), default=0)
    profiles = _profiles(labels, most)
    return {
        structure.number: _extent(*(profile[structure.number] for profile in profiles))
        for structure in structures
        if profiles[0][structure.number].any()
    }


def _profiles(labels: NDArray[np.unsignedinteger[Any]], most: int) -> list[NDArray[np.int64]]:
    """Voxels of each label on each plane: for each axis (most + 1, size of the axis)."""
    profiles = [np.zeros((most + 1, size), np.int64) for size in labels.shape]
    for k in range(labels.shape[2]):
        plane = labels[:, :, k].T  # columns change fastest in memory
        j, i = np.nonzero(plane)
        found = plane[j, i].astype(np.intp)
        kept = found <= most
        found, i, j = found[kept], i[kept], j[kept]
        for axis, index in enumerate((i, j)):
            size = labels.shape[axis]
            flat = np.bincount(found * size + index, minlength=profiles[axis].size)
            profiles[axis] += flat.reshape(-1, size)
        profiles[2][:, k] = np.bincount(found, minlength=most + 1)
    return profiles


def _extent(*profiles: NDArray[np.int64]) -> Extent:
    center, first, last = zip(*(_along(profile) for profile in profiles), strict=True)
    return Extent(int(profiles[0].sum()), center, first, last)


def _along(profile: NDArray[np.int64]) -> tuple[int, int, int]:
    """Shown, first and last plane along one axis."""
    filled = np.flatnonzero(profile)
    centroid = round(float(np.average(np.arange(profile.size), weights=profile)))
    shown = centroid if profile[centroid] else int(profile.argmax())
    return shown, int(filled[0]), int(filled[-1])
