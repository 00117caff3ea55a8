"""Headers of NIfTI files: where the image lies, by the rules of the standard, or a refusal.

sform if its code is above 0, else qform if its code is above 0, else nobody knows. Readers that
invent an orientation then disagree with each other.
"""

from __future__ import annotations

import gzip
import io
import zlib
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from medsemi.prediction.case import LPS_FROM_RAS
from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.dicom import UnreadableFileError
from medsemi.prediction.discovery.whole_files import LARGEST_DEFLATE_RATIO, WholeFile, is_lattice

HEADER_BYTES = {348: Nifti1Header, 540: Nifti2Header}
GZIP_MARK = b"\x1f\x8b"
SAME_PLACE_MM, SAME_LENGTH = 0.1, 1e-3
SHEAR_DEGREES = 0.5
LONGEST_INFLATED = 1 << 30
# Codes of units of length, and how many mm each is; other codes are taken as mm.
_UNITS = {1: ("meter", 1000.0), 3: ("micrometer", 0.001)}


def start_of(path: Path) -> bytes:
    """The first bytes of a file, inflated if it is gzip.

    Raises:
        OSError: the file cannot be read or is no gzip.
        EOFError: it ends too early.
        zlib.error: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(max(HEADER_BYTES))
        if not start.startswith(GZIP_MARK):
            return start
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as inflated:
            return inflated.read(max(HEADER_BYTES))


def is_nifti(start: bytes) -> bool:
    """Whether these are the first bytes of a NIfTI header, alone or with its image."""
    size = _header_bytes(start)
    if size == 348:
        return start[344:348] in {b"n+1\0", b"ni1\0"}
    return size == 540 and start[4:8] in {b"n+2\0", b"ni2\0"}


def read_nifti_header(path: Path, name: str, direct: bool) -> WholeFile:
    """Read what the header of a NIfTI file says.

    Args:
        path: of the file.
        name: path relative to the INPUT.
        direct: whether the user named the file or its folder.

    Raises:
        UnreadableFileError: if it is damaged or none.
    """
    try:
        header = _header(start_of(path))
        shape = tuple(int(n) for n in header.get_data_shape())
        findings = _unsupported(header) or _short(path, header, shape)
        affine, placing = _place(header, shape)
    # nibabel raises what the bytes of a damaged header happen to be.
    except Exception as error:
        raise UnreadableFileError(type(error).__name__) from error
    return WholeFile(path, name, "nifti", shape, affine, (*findings, *placing), direct)


def _header_bytes(start: bytes) -> int:
    """Size of the header in either byte order; 0 if it is none."""
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    return next((size for size in HEADER_BYTES if size in sizes), 0)


def _header(start: bytes) -> Nifti1Header:
    size = _header_bytes(start)
    if not is_nifti(start) or len(start) < size:
        raise UnreadableFileError("no NIfTI header")
    header: Nifti1Header = HEADER_BYTES[size].from_fileobj(io.BytesIO(start[:size]), check=False)
    shape = header.get_data_shape()
    if len(shape) < 2 or min(shape) < 1:
        raise UnreadableFileError("no sizes")
    if not _in_two_files(header) and int(header["vox_offset"]) < size + 4:
        raise UnreadableFileError("voxels inside the header")
    return header


def _in_two_files(header: Nifti1Header) -> bool:
    return bytes(header["magic"]).startswith(b"ni")


def _unsupported(header: Nifti1Header) -> list[Finding]:
    if _in_two_files(header):
        return [Finding("R08", {"why": "header and image in two files"})]
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:  # an unknown code raises an error of nibabel's own
        return [Finding("R08", {"why": "unknown NIfTI data type"})]
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        return [Finding("R08", {"why": "color or complex values"})]
    return []


def _short(path: Path, header: Nifti1Header, shape: tuple[int, ...]) -> list[Finding]:
    """R07 if the file cannot hold all voxels."""
    expected = int(header["vox_offset"]) + prod(shape) * header.get_data_dtype().itemsize
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == GZIP_MARK:
            file.seek(max(size - 4, 0))
            stated = int.from_bytes(file.read(4), "little")
            short = size * LARGEST_DEFLATE_RATIO < expected
            # A whole file ends with its length; only where it does not is it inflated.
            short = short or (stated != expected % (1 << 32) and _ends_early(path, expected))
        else:
            short = size < expected
    return [Finding("R07", {"file": "1 of 1 files"})] if short else []


def _ends_early(path: Path, expected: int) -> bool:
    """Whether compressed data stops before so many bytes; the first part of a long one decides."""
    left = min(expected, LONGEST_INFLATED)
    try:
        with gzip.open(path) as inflated:
            while left > 0 and (chunk := inflated.read(min(left, 1 << 20))):
                left -= len(chunk)
    except (OSError, EOFError, zlib.error):
        return True
    return left > 0


def _place(
    header: Nifti1Header, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """Affine to LPS in mm, and what is to be said about it."""
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not sform and not qform:
        return None, [Finding("R10", {"why": "sform and qform codes are 0"})]
    unit, scale = _UNITS.get(int(header["xyzt_units"]) & 7, ("mm", 1.0))
    scaling = np.diag([scale, scale, scale, 1.0])
    affine = scaling @ np.asarray(header.get_sform() if sform else _qform(header), np.float64)
    if not is_lattice(affine):
        return None, [Finding("R10", {"why": "its axes span no volume"})]
    findings = [Finding("W20", {"unit": unit})] if scale != 1 else []
    if sform and qform:
        other = scaling @ _qform(header)
        apart = _farthest_apart(affine, other, shape) if is_lattice(other) else np.inf
        if apart > SAME_PLACE_MM:
            values = {"mm": round(apart, 1) if np.isfinite(apart) else "an unknown number of"}
            findings.append(Finding("W12", values))
    if sform and not _same_lengths(affine, scale * np.abs(header["pixdim"][1:4])):
        findings.append(Finding("W13"))
    return LPS_FROM_RAS @ affine, findings


def _qform(header: Nifti1Header) -> NDArray[np.float64]:
    """The affine of the quaternion; NaN where that is none."""
    try:
        return np.asarray(header.get_qform(), np.float64)
    except Exception:  # an impossible quaternion raises an error of nibabel's own
        return np.full((4, 4), np.nan)


def _farthest_apart(
    a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Largest distance between the places of a corner by two affines, in mm."""
    space = (*shape[:3], 1)[:3]
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in space))])
    return float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())


def _same_lengths(affine: NDArray[np.float64], pixdim: NDArray[np.float64]) -> bool:
    """Whether steps agree; those of a sheared affine cannot be told by pixdim."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(np.triu((affine[:3, :3] / lengths).T @ (affine[:3, :3] / lengths), 1))
    if cosines.max() > np.sin(np.radians(SHEAR_DEGREES)):
        return True
    return bool(np.allclose(lengths, pixdim, rtol=SAME_LENGTH))
