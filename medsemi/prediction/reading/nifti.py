"""The voxels of a NIfTI file, read plane by plane, each byte accounted for."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.readings import Reading, empty_planes
from medsemi.prediction.reading.scaling import Scale, source_values

GZIP_MARK = b"\x1f\x8b"
# Deflate makes a byte of at most so many.
LARGEST_DEFLATE_RATIO = 1032
_CHUNK, _FILE = 1 << 20, "the file"
_HEADERS = {348: Nifti1Header, 540: Nifti2Header}


@dataclass(frozen=True)
class _Layout:
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    scale: Scale
    offset: int

    @property
    def volume_bytes(self) -> int:
        return prod(self.shape[:3]) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def read_nifti(case: Case) -> Reading:
    """Read one volume of a NIfTI file.

    Args:
        case: of a NIfTI file, with a grid.

    Raises:
        CaseRefused: U01, R07, R08 or R11.
    """
    assert case.grid is not None
    path = case.source.path
    try:
        with _opened(path) as stream:
            layout = _layout(stream)
            if layout.shape[:3] != case.grid.shape:
                raise CaseRefused("U01")
            ratio = LARGEST_DEFLATE_RATIO if isinstance(stream, gzip.GzipFile) else 1
            if layout.offset + layout.bytes > path.stat().st_size * ratio:
                raise CaseRefused("R07", file=_FILE)
            return _read(stream, layout, case.source.volume or 0)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CaseRefused("R07", file=_FILE) from error
    except OSError as error:
        raise CaseRefused("U01") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MARK
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as inflated:
            yield inflated  # type: ignore[misc]  # a stream of bytes in all but its declaration


def _layout(stream: BinaryIO) -> _Layout:
    start = stream.read(540)
    size = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & set(_HEADERS)
    if not size or len(start) < min(size):
        raise CaseRefused("U01")
    length = size.pop()
    try:
        header = _HEADERS[length].from_fileobj(io.BytesIO(start[:length]), check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = np.dtype(header.get_data_dtype())
        slope, intercept = header.get_slope_inter()
        offset = int(header["vox_offset"])
    # nibabel raises what the bytes of a damaged header happen to be.
    except Exception as error:
        raise CaseRefused("R08", why="unknown NIfTI data type") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise CaseRefused("R08", why="color or complex values")
    if not 3 <= len(shape) <= 7 or min(shape) < 1 or offset < length + 4:
        raise CaseRefused("U01")
    scale = Scale() if slope is None else Scale(float(slope), float(intercept))
    return _Layout(shape, dtype, scale, offset)


def _read(stream: BinaryIO, layout: _Layout, volume: int) -> Reading:
    columns, rows, slices = layout.shape[:3]
    start = layout.offset + volume * layout.volume_bytes
    if volume >= prod(layout.shape[3:]):
        raise CaseRefused("U01")
    stream.seek(start)
    planes = empty_planes(slices, rows, columns)
    digest = hashlib.sha256(f"{layout.shape[:3]} {layout.dtype.str} {layout.scale}\n".encode())
    not_finite = 0
    for plane in planes:
        raw = stream.read(plane.size * layout.dtype.itemsize)
        if len(raw) != plane.size * layout.dtype.itemsize:
            raise CaseRefused("R07", file=_FILE)
        digest.update(raw)
        stored = np.frombuffer(raw, layout.dtype).reshape(plane.shape)
        plane[:], count = source_values(stored, layout.scale)
        not_finite += count
    _check_end(stream, layout, start + layout.volume_bytes)
    return Reading(planes, not_finite, "", digest.hexdigest())


def _check_end(stream: BinaryIO, layout: _Layout, position: int) -> None:
    """Read on to the end: gzip compares its checksum there, and the header must tell all data."""
    left = layout.offset + layout.bytes - position
    # What may follow: less than a row, so that no axis can be longer than the header says.
    slack = min(layout.shape[:3]) * layout.dtype.itemsize
    while chunk := stream.read(_CHUNK):
        left -= len(chunk)
        if left <= -slack:
            raise CaseRefused("R08", why="more voxel data than the header accounts for")
    if left > 0:
        raise CaseRefused("R07", file=_FILE)
