"""What a damaged file holds, told without the code under test; and whether a reader told the same.

DICOM by plain pydicom, NIfTI by its fields, NRRD and MHA by SimpleITK.
"""

from __future__ import annotations

import gzip
import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

from medsemi.prediction.case import Case, Volume

DEGREES, RELATIVE, MM = 0.6, 2e-3, 0.3
# Of a file that names none: (implicit, little endian), as pydicom parsed it.
GUESSED = {
    (True, True): pydicom.uid.ImplicitVRLittleEndian,
    (False, True): pydicom.uid.ExplicitVRLittleEndian,
    (False, False): pydicom.uid.ExplicitVRBigEndian,
}


@dataclass(frozen=True)
class Plane:
    """One frame of a DICOM file.

    Attributes:
        values: (rows, columns), NaN at padding.
        origin: of the first pixel, LPS.
        steps: (2, 3) in mm from column to column and from row to row.
    """

    values: np.ndarray
    origin: np.ndarray
    steps: np.ndarray


class Contradiction(AssertionError):  # noqa: N818  (what was read contradicts the file)
    """A reader told something that is not in the file."""


def dicom_plane(data: bytes, frame: int) -> Plane:
    """A frame by plain pydicom, position from functional groups or the top level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(data), force=True)
        if "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = GUESSED[header.original_encoding]
        stored = header.pixel_array
        stored = stored[frame] if stored.ndim == 3 else stored

        def of(sequence: str) -> pydicom.Dataset:
            for level in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
                groups = header.get(level) or []
                group = groups[0 if level.startswith("S") else frame] if len(groups) else {}
                if group.get(sequence):
                    return group[sequence][0]
            return header

        scale = of("PixelValueTransformationSequence")
        slope, intercept = scale.get("RescaleSlope"), scale.get("RescaleIntercept")
        values = stored * float(1 if slope is None else slope)
        values = values + float(0 if intercept is None else intercept)
        padding = header.get("PixelPaddingValue")
        if isinstance(padding, int):
            values = np.where((stored - padding) % 65536 == 0, np.nan, values)
        origin = of("PlanePositionSequence").ImagePositionPatient
        across = of("PlaneOrientationSequence").ImageOrientationPatient
        spacing = np.array(of("PixelMeasuresSequence").PixelSpacing, float)
        steps = np.array(across, float).reshape(2, 3)
        steps = steps / np.linalg.norm(steps, axis=1, keepdims=True) * spacing[::-1, None]
        return Plane(values, np.array(origin, float), steps)


def check_dicom(case: Case, volume: Volume, planes: list[list[Plane]]) -> None:
    """Compare a volume with the planes that it was made of.

    Args:
        case: of the volume.
        volume: what was read.
        planes: for each slice, in order, what it may hold.
    """
    assert case.grid is not None
    index = case.slice_index or range(len(planes))
    if [round(i) for i in index] != list(range(case.grid.shape[2])):
        raise Contradiction("slices are not those of the grid")
    for k, allowed in enumerate(planes):
        found = volume.values[:, :, k]
        _one_of(allowed, lambda plane, found=found: _same(found, plane.values.T, "values"), k)
        first = case.grid.affine @ [0, 0, k, 1]
        _one_of(allowed, lambda plane, first=first: _near(first[:3], plane), k)
        for axis in range(2):
            step = case.grid.affine[:3, axis]
            _one_of(allowed, lambda plane, s=step, a=axis: _aligned(s, plane.steps[a]), k)


def _one_of(allowed: list[Plane], compare: Callable[[Plane], None], number: int) -> None:
    """One of the planes must fit."""
    misfits = [_misfit(compare, plane) for plane in allowed]
    if all(misfits):
        raise Contradiction(f"slice {number}: {'; '.join(misfits)}")


def _misfit(compare: Callable[[Plane], None], plane: Plane) -> str:
    """Why a plane does not fit, empty if it does; one of a wrong type may make no sense at all."""
    try:
        compare(plane)
    except (Contradiction, ValueError) as error:
        return str(error) or "no sense"
    return ""


def _same(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    if found.shape != expected.shape:
        raise Contradiction(f"{what}: {found.shape} instead of {expected.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        expected = expected.astype(np.float32)
    known = np.isfinite(expected)
    if not np.allclose(found[known], expected[known], rtol=1e-5, atol=1e-4):
        raise Contradiction(f"{what} differ")
    if not np.isfinite(found).all():
        raise Contradiction(f"{what} are not finite")


def _near(found: np.ndarray, plane: Plane) -> None:
    # A stack is one lattice if its origins lie within half a pixel of a line (rule D8).
    tolerance = MM + 0.5 * float(np.linalg.norm(plane.steps, axis=1).max())
    if not np.linalg.norm(found - plane.origin) <= tolerance:
        raise Contradiction(f"place: {found} instead of {plane.origin}")


def _aligned(found: np.ndarray, expected: np.ndarray) -> None:
    lengths = np.linalg.norm(found), np.linalg.norm(expected)
    cosine = found @ expected / (lengths[0] * lengths[1])
    if not (abs(lengths[0] / lengths[1] - 1) <= RELATIVE and cosine >= np.cos(np.radians(DEGREES))):
        raise Contradiction(f"axis: {found} instead of {expected}")


@dataclass(frozen=True)
class Lattice:
    """All of a file that holds a whole lattice.

    Attributes:
        values: along all its axes.
        affine: (4, 4) to LPS, mm.
    """

    values: np.ndarray
    affine: np.ndarray


def nifti_lattice(data: bytes) -> Lattice:
    """A NIfTI-1 or NIfTI-2 file, from the bytes of its fields."""
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    for order in "<>":
        if struct.unpack_from(f"{order}i", data)[0] == 348:
            return _nifti(data, order, 1)
        if struct.unpack_from(f"{order}i", data)[0] == 540:
            return _nifti(data, order, 2)
    raise Contradiction("no NIfTI")


_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_TYPES |= {1024: "i8", 1280: "u8"}


def _nifti(data: bytes, order: str, version: int) -> Lattice:
    def at(offset: int, kind: str, count: int = 1) -> tuple[float, ...]:
        return struct.unpack_from(f"{order}{count}{kind}", data, offset)

    if version == 1:
        dim, (code,), (offset,) = at(40, "h", 8), at(70, "h"), at(108, "f")
        pixdim, (slope, inter), (units,) = at(76, "f", 8), at(112, "f", 2), at(123, "B")
        qcode, scode = at(252, "h", 2)
        quaternion, rows = at(256, "f", 6), at(280, "f", 12)
    else:
        dim, (code,), (offset,) = at(16, "q", 8), at(12, "h"), at(168, "q")
        pixdim, (slope, inter), (units,) = at(104, "d", 8), at(176, "d", 2), at(500, "i")
        qcode, scode = at(344, "i", 2)
        quaternion, rows = at(352, "d", 6), at(400, "d", 12)
    shape = tuple(int(n) for n in dim[1 : int(dim[0]) + 1])
    dtype = np.dtype(f"{order}{_TYPES[int(code)]}")
    count = int(np.prod(shape))
    stored = np.frombuffer(data, dtype, count, int(offset)).reshape(shape, order="F")
    values = stored.astype(np.float64)
    if np.isfinite(slope) and slope != 0:
        values = values * slope + inter
    affine = np.eye(4)
    if scode > 0:
        affine[:3] = np.array(rows).reshape(3, 4)
    elif qcode > 0:
        affine[:3] = _from_quaternion(quaternion, pixdim)
    else:
        raise Contradiction("no orientation")
    affine[:3] *= {1: 1000.0, 3: 0.001}.get(int(units) & 7, 1.0)
    return Lattice(values, np.diag([-1.0, -1, 1, 1]) @ affine)


def _from_quaternion(quaternion: tuple[float, ...], pixdim: tuple[float, ...]) -> np.ndarray:
    b, c, d, *origin = quaternion
    rest = 1 - b * b - c * c - d * d
    a = np.sqrt(rest) if rest > 1e-6 else 0.0  # below is rounding, and its root is not small
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    scale = np.array(pixdim[1:4]) * [1, 1, -1 if pixdim[0] < 0 else 1]
    return np.column_stack([rotation * scale, origin])


def itk_lattice(path: Path) -> Lattice:
    """An NRRD or MHA file by SimpleITK."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Lattice(SimpleITK.GetArrayFromImage(image).T, affine)


def check_lattice(case: Case, volume: Volume, truth: Lattice) -> None:
    """Compare a volume with the file that it was read from."""
    assert case.grid is not None
    values = truth.values
    if values.ndim > 3:
        values = values.reshape(*values.shape[:3], -1, order="F")[..., case.source.volume or 0]
    _same(volume.values, values, "values")
    if not np.allclose(case.grid.affine, truth.affine, rtol=1e-4, atol=1e-4):
        raise Contradiction(f"affine {case.grid.affine} instead of {truth.affine}")
