"""The voxels of NRRD, MHA and MHD files, read with SimpleITK after their bytes were counted.

ITK allocates what a header claims and prints to the console where data is missing, so both are
looked at first.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import SimpleITK

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.discovery.itk_text import LONGEST_HEADER, meta_image_fields, nrrd_fields
from medsemi.prediction.reading.readings import Reading, empty_planes
from medsemi.prediction.reading.scaling import Scale, source_values

_CHUNK, _FILE = 1 << 20, "the file"
_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8"), 1),
    "uint8_t": 1,
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    "int16_t": 2,
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "double"), 8),
}


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a header says about its data: sizes along (column, row, slice, …) and where it lies."""

    sizes: tuple[int, ...]
    bytes: int
    data: Path
    offset: int
    compressed: bool


def read_with_itk(case: Case) -> Reading:
    """Read one volume of an NRRD, MHA or MHD file.

    Args:
        case: of such a file, with a grid.

    Raises:
        CaseRefused: U01, R07, R08 or R11.
    """
    assert case.grid is not None
    path = case.source.path
    try:
        claim = _claim(path)
        if claim.sizes[:3] != case.grid.shape:
            raise CaseRefused("U01")
        _count_bytes(claim)
        image = SimpleITK.ReadImage(str(path))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise CaseRefused("U01") from error
    stored = SimpleITK.GetArrayViewFromImage(image)
    if stored.shape[::-1] != claim.sizes:
        raise CaseRefused("R08", why="more than one value for each voxel")
    if stored.ndim > 3:
        stored = stored.reshape(-1, *stored.shape[-3:])[case.source.volume or 0]
    planes = empty_planes(*stored.shape)
    digest = hashlib.sha256(f"{stored.shape} {stored.dtype.str}\n".encode())
    not_finite = 0
    for plane, source in zip(planes, stored, strict=True):
        digest.update(np.ascontiguousarray(source).data)
        plane[:], count = source_values(source, Scale())
        not_finite += count
    return Reading(planes, not_finite, "", digest.hexdigest())


def _claim(path: Path) -> _Claim:
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    if start.startswith(b"NRRD"):
        return _nrrd(path, start)
    return _meta_image(path, start)


def _nrrd(path: Path, start: bytes) -> _Claim:
    fields, end = nrrd_fields(start)
    encoding = fields.get("encoding", "raw").lower()
    detached = fields.get("data file", fields.get("datafile", ""))
    skips = {fields.get(key, "0") for key in ("byte skip", "byteskip", "line skip", "lineskip")}
    if encoding not in {"raw", "gzip", "gz"} or skips != {"0"}:
        raise CaseRefused("R08", why="NRRD of unusual encoding")
    if not detached and (end is None or b"\r\n" in start[:end]):
        raise CaseRefused("U01")
    compressed = encoding != "raw"
    return _checked(path, fields["type"], fields["sizes"], detached, end or 0, compressed)


def _meta_image(path: Path, start: bytes) -> _Claim:
    fields, position = meta_image_fields(start)
    data = fields["ElementDataFile"]
    channels, skip = fields.get("ElementNumberOfChannels", "1"), fields.get("HeaderSize", "0")
    if channels != "1" or skip != "0" or data.split()[0] == "LIST" or "%" in data:
        raise CaseRefused("R08", why="MHA of unusual layout")
    detached = "" if data.upper() == "LOCAL" else data
    compressed = fields.get("CompressedData", "False").lower() == "true"
    return _checked(path, fields["ElementType"], fields["DimSize"], detached, position, compressed)


def _checked(
    path: Path, kind: str, sizes: str, detached: str, offset: int, compressed: bool
) -> _Claim:
    shape = tuple(int(size) for size in sizes.split())
    if kind not in _BYTES:
        raise CaseRefused("R08", why="unknown or composed voxel type")
    if not 3 <= len(shape) <= 7 or min(shape) < 1:
        raise CaseRefused("U01")
    if detached:
        # Only beside its header: a path that leads elsewhere is not what was handed over.
        if Path(detached).name != detached:
            raise CaseRefused("U01")
        return _Claim(shape, prod(shape) * _BYTES[kind], path.with_name(detached), 0, compressed)
    return _Claim(shape, prod(shape) * _BYTES[kind], path, offset, compressed)


def _count_bytes(claim: _Claim) -> None:
    """Compare the bytes that are there, inflated in pieces, with those that the header claims."""
    raw = claim.data.stat().st_size - claim.offset
    found = _inflated_bytes(claim) if claim.compressed else raw
    if found < claim.bytes:
        raise CaseRefused("R07", file=_FILE)
    if found - claim.bytes >= min(claim.sizes) * claim.bytes // prod(claim.sizes):
        raise CaseRefused("R08", why="more voxel data than the header accounts for")


def _inflated_bytes(claim: _Claim) -> int:
    """Length of the inflated data, checksum included; stops where it is more than claimed."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib or gzip
    count = 0
    with claim.data.open("rb") as file:
        file.seek(claim.offset)
        while count <= claim.bytes and not inflater.eof:
            raw = inflater.unconsumed_tail or file.read(_CHUNK)
            try:
                inflated = inflater.decompress(raw, _CHUNK)
            except zlib.error as error:
                raise CaseRefused("R07", file=_FILE) from error
            if not raw and not inflated and not inflater.eof:
                raise CaseRefused("R07", file=_FILE)
            count += len(inflated)
    return count
