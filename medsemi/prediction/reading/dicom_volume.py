"""The slices of a DICOM case, decoded and rescaled one by one."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.pixels import Frames, little_endian, open_frames, type_bytes
from medsemi.prediction.reading.readings import Reading, digest_of_all, empty_planes
from medsemi.prediction.reading.scaling import frame_scale, padding_range, source_values


@dataclass(frozen=True, slots=True)
class _Part:
    """What one file contributes."""

    not_finite: int
    units: frozenset[str]
    digest: str


def read_dicom(case: Case, threads: int) -> Reading:
    """Read the slices of `case.source.slices`, in their order.

    Args:
        case: of DICOM files, with a grid.
        threads: that decode files side by side; the result does not depend on it.

    Raises:
        CaseRefused: U01, R07, R08, R09 or R11.
    """
    assert case.grid is not None
    slices = case.source.slices
    columns, rows, _ = case.grid.shape
    files: dict[Path, list[int]] = {}
    for number, source in enumerate(slices):
        files.setdefault(source.path, []).append(number)
    # Before room is made for all, the first file must be as large as its header says.
    with open_frames(slices[0].path, _name(0, len(slices))) as frames:
        _check_matrix(frames, rows, columns)
    planes = empty_planes(len(slices), rows, columns)

    def read(numbers: list[int]) -> _Part:
        return _read_file(case, numbers, planes)

    pool = ThreadPoolExecutor(threads)
    try:
        parts = list(pool.map(read, files.values()))
    finally:
        # After the first damaged file, or an interruption, the others are not decoded.
        pool.shutdown(cancel_futures=True)
    units = frozenset().union(*(part.units for part in parts))
    return Reading(
        planes,
        sum(part.not_finite for part in parts),
        next(iter(units)) if len(units) == 1 else "",
        digest_of_all(part.digest for part in parts),
    )


def _read_file(case: Case, numbers: list[int], planes: NDArray[np.float32]) -> _Part:
    """Read those slices of the stack that lie in one file into their planes."""
    slices = case.source.slices
    not_finite, units = 0, set()
    with open_frames(slices[numbers[0]].path, _name(numbers[0], len(slices))) as frames:
        _check_matrix(frames, *planes.shape[1:])
        digest = hashlib.sha256(type_bytes(frames.pixels))
        for number in numbers:
            frame = slices[number].frame
            scale = frame_scale(frames.image.header, frame, case.source.modality)
            padding = padding_range(frames.image.header, frames.pixels, scale)
            stored = frames.stored(frame)
            planes[number], count = source_values(stored, scale, padding)
            not_finite += count
            units.add(scale.unit)
            digest.update(f"slice {number} {scale} {padding}\n".encode())
            digest.update(little_endian(stored))
    return _Part(not_finite, frozenset(units), digest.hexdigest())


def _check_matrix(frames: Frames, rows: int, columns: int) -> None:
    if (frames.pixels.rows, frames.pixels.columns) != (rows, columns):
        raise CaseRefused("R08", why="image of another size than the stack")


def _name(number: int, count: int) -> str:
    """Of a source image, in sentences; its path may name a patient."""
    return f"slice {number + 1} of {count}"
