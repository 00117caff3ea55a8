"""A case: one volume that may be segmented, as its headers describe it, before a voxel is read.

Patient coordinates are those of DICOM, in mm: +x to the patient's left, +y back, +z head (LPS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.codes import Finding

Kind = Literal["dicom", "nifti", "nrrd", "mha", "none"]
Outcome = Literal["predict", "skip", "refuse"]
CLASSES = (
    "unreadable",
    "not_image",
    "screenshot",
    "mosaic",
    "localizer",
    "single",
    "4d",
    "uneven",
    "gaps",
    "tilted",
    "multi_frame",
    "volume",
)
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxel centers, possibly sheared.

    Attributes:
        shape: number of voxels along (column, row, slice).
        affine: (4, 4) float64, from indices (column, row, slice) to patient coordinates, LPS, mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Length in mm of one step along each axis; not the slice distance of a sheared grid."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm³: |det A|, exact for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def slice_distance(self) -> float:
        """Distance in mm of neighboring slices along their normal, exact for sheared grids too."""
        across = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return float(self.voxel_mm3 / np.linalg.norm(across))

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """The affine in the coordinates of NIfTI: +x right, +y front, +z head."""
        return LPS_FROM_RAS @ self.affine

    @property
    def shear_degrees(self) -> float:
        """Largest deviation from a right angle between two axes, in degrees."""
        unit = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        cosines = np.abs((unit.T @ unit)[np.triu_indices(3, 1)])
        return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1))))


@dataclass(frozen=True, slots=True)
class SliceSource:
    """One source image of a stack.

    Attributes:
        path: its file.
        frame: 0-based frame within the file; 0 for a single-frame file.
        uid: SOP Instance UID.
        position: distance along the normal, in mm.
    """

    path: Path
    frame: int
    uid: str
    position: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where a case comes from. UIDs and paths may identify a patient: never log them.

    Attributes:
        kind: of the files.
        modality: DICOM modality such as CT or MR; empty where unknown (NIfTI, NRRD, MHA).
        path: the first file; what `inspect` shows is `name`.
        name: path of the first file relative to the INPUT that it was found under.
        files: number of files.
        slices: DICOM: one per source image of this volume, sorted along the normal; else empty.
        volume: 0-based index within a file or series of several volumes; None if there is one.
        volume_key: what told the volumes apart, such as `echo`; empty if there is one.
        tags: further plain facts for `case.json`: series_uid, study_uid, frame_of_reference_uid,
            series_number, series_description, patient_position, transfer_syntax, manufacturer,
            body_part; empty strings where absent; and carried, a digest of what a DICOM SEG repeats
            of patient and study. None of it goes to the log or the report.
        data: the file of the voxels, where `path` is that of their header alone; else None.
    """

    kind: Kind
    modality: str
    path: Path
    name: str
    files: int
    slices: tuple[SliceSource, ...] = ()
    volume: int | None = None
    volume_key: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None


@dataclass(frozen=True)
class Case:
    """What would be done with one volume, and why.

    Attributes:
        key: stable identity: series UID (or path), stack number and volume key.
        case_id: name of its folder; carries no identifying tag unless the user asked for it.
        category: first of `CLASSES` that holds.
        flags: all that holds: members of `CLASSES` other than volume, `no_geometry`, `conflict`.
        outcome: predict, skip or refuse.
        findings: codes that are known from headers.
        source: its files.
        grid: where seg.nii.gz lies: the source lattice; with `--gaps fill` the filled regular one;
            None where geometry is unknown.
        slice_index: for each of `source.slices`, where it lies on the slice axis of `grid`: 0, 1, 2 …
            for a regular stack, with holes where gaps were filled, fractions where uneven slices
            were interpolated. Empty for files that hold a whole lattice.
        geometry: measured facts for `inspect` and tests: pixel_spacing (row, column), matrix (rows,
            columns), positions, spacing, step_min, step_max, tilt_deg, shift_mm, missing,
            missing_after, iop, first_ipp, last_ipp, as far as they are known.
        names: all that `case_id` may be, whatever else there is in a run.
    """

    key: str
    case_id: str
    category: str
    flags: tuple[str, ...]
    outcome: Outcome
    findings: tuple[Finding, ...]
    source: Source
    grid: Grid | None = None
    slice_index: tuple[float, ...] = ()
    geometry: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes alone."""
        return tuple(finding.code for finding in self.findings)

    @property
    def interpolated(self) -> tuple[int, ...]:
        """Slices of `grid` on which no source slice lies."""
        if self.grid is None or not self.slice_index:
            return ()
        true = {round(i) for i in self.slice_index if abs(i - round(i)) < 1e-3}
        return tuple(i for i in range(self.grid.shape[2]) if i not in true)


@dataclass(frozen=True, eq=False)
class Volume:
    """The voxels of a case, read.

    Attributes:
        values: float32 in source units (HU or none), indexed (column, row, slice) like `case.grid`;
            the memory order is that of the file (columns change fastest). Finite everywhere.
        unit: `HU` or empty.
        findings: codes that only the voxels tell (W14, …).
        digest: SHA-256 of the sorted digests of each file's pixel data.
    """

    values: NDArray[np.float32]
    unit: str
    findings: tuple[Finding, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels of a case, on the grid of the source.

    Attributes:
        labels: unsigned integers indexed (column, row, slice), on exactly `case.grid`.
        slice_labels: the same on the planes of `case.source.slices`, in their order; `labels` itself
            or a view of it where the stack is regular.
        agreement: Dice of student and teacher for each label name; empty where the model holds one
            network. None for a label that both leave empty.
        memory_mode: 0 to 4, see `medsemi.prediction.ladder`.
        seconds: of `resample`, `network` and `back`.
        findings: W08, W16, W21.
        probabilities: float16 (labels + background, column, row, slice) where asked for, else None.
        orthogonal: labels on an orthogonal grid beside a sheared source, with that grid; else None.
    """

    labels: NDArray[np.unsignedinteger[Any]]
    slice_labels: NDArray[np.unsignedinteger[Any]]
    agreement: Mapping[str, float | None]
    memory_mode: int
    seconds: Mapping[str, float]
    findings: tuple[Finding, ...] = ()
    probabilities: NDArray[np.float16] | None = None
    orthogonal: tuple[NDArray[np.unsignedinteger[Any]], Grid] | None = None
