"""What a reader of one kind of file hands on: voxels before holes are painted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.codes import CaseRefused


@dataclass(frozen=True, eq=False)
class Reading:
    """Voxels of the source slices of a case.

    Attributes:
        planes: (slices, rows, columns), NaN where there is no measurement.
        not_finite: number of voxels that were stored and are not finite.
        unit: `HU` or empty.
        digest: of the pixel data.
    """

    planes: NDArray[np.float32]
    not_finite: int
    unit: str
    digest: str


def empty_planes(slices: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Room for the voxels of a volume.

    Args:
        slices: number of planes.
        rows: of a plane.
        columns: of a plane; they change fastest in memory.

    Raises:
        CaseRefused: R11 if there is no such room.
    """
    try:
        return np.empty((slices, rows, columns), np.float32)
    except (MemoryError, ValueError) as error:
        needed = round(slices * rows * columns * 4 / 1e9, 1)
        raise CaseRefused("R11", needed=needed, free="fewer") from error


def digest_of_all(digests: Iterable[str]) -> str:
    """One digest of the digests of files, whatever their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
