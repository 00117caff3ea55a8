"""Headers of NRRD and MetaImage files: read by ITK, and checked against the text they are made from.

ITK completes what a header lacks (no orientation becomes the identity) and cannot hold sheared axes.
What it would have to guess is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.dicom import UnreadableFileError
from medsemi.prediction.discovery.itk_text import LONGEST_HEADER, meta_image_fields, nrrd_fields
from medsemi.prediction.discovery.whole_files import LARGEST_DEFLATE_RATIO, WholeFile, is_lattice

SAME_MM = 0.01
LARGEST_COSINE = float(np.sin(np.radians(0.1)))
# Signs that turn the coordinates of a space into LPS.
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


@dataclass(frozen=True, eq=False)
class _Said:
    """What the text of a header says.

    Attributes:
        shape: sizes along the axes.
        affine: (4, 4) to LPS, mm; None where it does not say.
        why: what it lacks, if there is no affine.
        data: the file with the voxels; the header's own if they follow it.
        offset: of the voxels in that file.
        compressed: whether they are.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    why: str
    data: Path
    offset: int
    compressed: bool


def is_nrrd(start: bytes) -> bool:
    """Whether these are the first bytes of an NRRD file."""
    return re.match(rb"NRRD000\d\r?\n", start) is not None


def is_meta_image(start: bytes) -> bool:
    """Whether these are the first bytes of a MetaImage file (MHA, MHD)."""
    return re.match(rb"\s*(ObjectType\s*=\s*Image|NDims\s*=\s*\d)", start) is not None


def read_itk_header(path: Path, name: str, kind: Literal["nrrd", "mha"], direct: bool) -> WholeFile:
    """Read what the header of an NRRD or MetaImage file says.

    Args:
        path: of the file.
        name: path relative to the INPUT.
        kind: of the file.
        direct: whether the user named the file or its folder.

    Raises:
        UnreadableFileError: if it is damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_HEADER)
        said = _nrrd(path, start) if kind == "nrrd" else _meta_image(path, start)
        size = said.data.stat().st_size
        affine, finding = _checked(path, said, size)
    except Exception as error:
        raise UnreadableFileError(type(error).__name__) from error
    findings = () if finding is None else (finding,)
    data = None if said.data == path else said.data
    return WholeFile(path, name, kind, said.shape[:3], affine, findings, direct, data)


def _checked(
    path: Path, said: _Said, size: int
) -> tuple[NDArray[np.float64] | None, Finding | None]:
    """The affine, if the file can be used as it is; else why not."""
    if len(said.shape) > 3:
        return None, Finding("R08", {"why": f"{len(said.shape)} axes"})
    if len(said.shape) < 3:
        return None, None
    why = said.why if said.affine is None else _no_box(said.affine)
    if said.affine is None or why:
        return None, Finding("R10", {"why": why})
    # Only now is ITK asked: it writes to the console about headers that it cannot read.
    reader = _information(path)
    bits = _bits(reader)
    if bits is None:
        return said.affine, Finding("R08", {"why": "more than one value for each voxel"})
    if _is_short(size, said, prod(said.shape) * bits // 8):
        return said.affine, Finding("R07", {"file": "1 of 1 files"})
    if tuple(reader.GetSize()) != said.shape or not _agrees(said.affine, reader):
        return None, Finding("R10", {"why": "its header contradicts itself"})
    return said.affine, None


def _information(path: Path) -> Any:  # noqa: ANN401  (SimpleITK has no types)
    # Slow to import, and seldom needed.
    sitk = import_module("SimpleITK")
    sitk.ProcessObject.GlobalWarningDisplayOff()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _bits(reader: Any) -> int | None:  # noqa: ANN401
    """Bits of a voxel; None unless it is one number."""
    sitk = import_module("SimpleITK")
    words = re.fullmatch(
        r"(\d+)-bit (signed integer|unsigned integer|float)",
        sitk.GetPixelIDValueAsString(reader.GetPixelID()),
    )
    return int(words[1]) if words and reader.GetNumberOfComponents() == 1 else None


def _is_short(size: int, said: _Said, expected: int) -> bool:
    there = size - said.offset
    return there * (LARGEST_DEFLATE_RATIO if said.compressed else 1) < expected


def _no_box(affine: NDArray[np.float64]) -> str:
    """Why ITK cannot hold such a grid; empty if it can."""
    if not is_lattice(affine):
        return "its axes span no volume"
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = np.abs(np.triu(unit.T @ unit, 1)).max()
    return "its axes are not at right angles" if cosine > LARGEST_COSINE else ""


def _agrees(affine: NDArray[np.float64], reader: Any) -> bool:  # noqa: ANN401
    """Whether ITK places the image where the text says."""
    itk = np.eye(4)
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    itk[:3, :3] = direction * np.array(reader.GetSpacing())
    itk[:3, 3] = reader.GetOrigin()
    corner = np.array([*reader.GetSize(), 1.0])
    return bool(np.abs((itk - affine) * corner).sum(axis=1).max() <= SAME_MM)


def _nrrd(path: Path, start: bytes) -> _Said:
    fields, end = nrrd_fields(start)
    detached = fields.get("data file", fields.get("datafile", ""))
    affine, why = _nrrd_affine(fields)
    compressed = fields.get("encoding", "raw").lower() != "raw"
    offset = end if end and not detached else 0
    shape = _sizes(fields["sizes"])
    return _Said(shape, affine, why, _beside(path, detached), offset, compressed)


def _nrrd_affine(fields: Mapping[str, str]) -> tuple[NDArray[np.float64] | None, str]:
    signs = _SPACES.get(fields.get("space", "").lower())
    directions = re.findall(r"\(([^()]*)\)", fields.get("space directions", ""))
    origin = re.findall(r"\(([^()]*)\)", fields.get("space origin", ""))
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", "")))
    if signs is None:
        return None, "it names no anatomical space"
    if len(directions) != 3 or len(origin) != 1:
        return None, "it names no directions or no origin"
    if units - {"mm", ""}:
        return None, "its units are not mm"
    vectors = [[float(part) for part in vector.split(",")] for vector in [*directions, *origin]]
    affine = np.eye(4)
    affine[:3] = (np.array(vectors) * signs).T
    return affine, ""


def _meta_image(path: Path, start: bytes) -> _Said:
    fields, position = meta_image_fields(start)
    data = fields["ElementDataFile"]
    detached = "" if data.upper() == "LOCAL" else data
    affine, why = _meta_affine(fields)
    compressed = fields.get("CompressedData", "False").lower() == "true"
    shape = _sizes(fields["DimSize"])
    offset = 0 if detached else position
    return _Said(shape, affine, why, _beside(path, detached), offset, compressed)


def _meta_affine(fields: Mapping[str, str]) -> tuple[NDArray[np.float64] | None, str]:
    def of(*names: str) -> list[float]:
        value = next((fields[name] for name in names if name in fields), "")
        return [float(part) for part in value.split()]

    matrix = of("TransformMatrix", "Rotation", "Orientation")
    origin, spacing = of("Offset", "Position", "Origin"), of("ElementSpacing")
    if len(matrix) != 9 or len(origin) != 3:
        return None, "it names no directions or no origin"
    if len(spacing) != 3:
        return None, "it names no distance of voxels"
    affine = np.eye(4)
    affine[:3, :3] = np.array(matrix).reshape(3, 3).T * spacing
    affine[:3, 3] = origin
    return affine, ""


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split())
    if min(sizes, default=0) < 1:
        raise UnreadableFileError("no sizes")
    return sizes


def _beside(path: Path, detached: str) -> Path:
    """The file of the voxels, only beside its header: elsewhere is not what was handed over."""
    if not detached:
        return path
    if Path(detached).name != detached:
        raise UnreadableFileError("voxels in another folder")
    return path.with_name(detached)
