"""Files that hold a whole lattice (NIfTI, NRRD, MetaImage): the rules that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.case import CLASSES, Grid, Kind, Source
from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.draft import Draft
from medsemi.prediction.options import Options

FEW_SLICES = 10
MOST_VOLUMES = 10_000
SHEAR_DEGREES = 0.5
FARTHEST_MM = 1e5
LEAST_STEP_MM, LARGEST_STEP_MM = 1e-3, 1e3
# Cosine of the angle between an axis and the plane of the others: less is no lattice in space.
LEAST_FLATNESS = 0.1
# Deflate makes a byte of at most so many.
LARGEST_DEFLATE_RATIO = 1032


@dataclass(frozen=True, eq=False)
class WholeFile:
    """What the header of a file says.

    Attributes:
        path: of the file.
        name: path relative to the INPUT.
        kind: of the file.
        shape: sizes along all axes, the first three in space.
        affine: (4, 4), from indices to LPS, mm; None where the header does not say.
        findings: of its format.
        direct: whether the user named the file or its folder.
        data: the file of the voxels, where `path` is that of their header alone; else None.
    """

    path: Path
    name: str
    kind: Kind
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    findings: tuple[Finding, ...]
    direct: bool
    data: Path | None = None

    def drafts(self, options: Options, least: int) -> list[Draft]:
        """The cases: one for each volume.

        Args:
            options: of the user.
            least: fewer slices are no volume.
        """
        volumes = prod(self.shape[3:])
        findings, flags = list(self.findings), set()
        space = (*self.shape[:3], *([1] * (3 - len(self.shape))))
        shape = (space[0], space[1], space[2])
        if min(shape) < least:
            flags.add("single")
            findings.insert(0, Finding("S05", {"n": min(shape), "least": least}))
        elif min(shape) < FEW_SLICES:
            findings.append(Finding("W07", {"n": min(shape)}))
        if any(size > 1 for size in self.shape[4:]) or volumes > MOST_VOLUMES:
            findings.append(Finding("R08", {"why": f"{len(self.shape)} axes"}))
            volumes = 1
        grid = None if self.affine is None else Grid(shape, self.affine)
        if grid is not None and grid.shear_degrees > SHEAR_DEGREES:
            flags.add("tilted")
            findings += _sheared(grid, options)
        if volumes > 1:
            flags.add("4d")
        facts = _geometry(shape, grid) | ({"volumes": volumes} if volumes > 1 else {})
        return [
            self._draft(flags, findings, grid, facts, index if volumes > 1 else None, volumes)
            for index in range(volumes)
        ]

    def _draft(
        self,
        flags: set[str],
        findings: Sequence[Finding],
        grid: Grid | None,
        geometry: dict[str, Any],
        volume: int | None,
        volumes: int,
    ) -> Draft:
        key, files = "" if volume is None else "order", 1 if self.data is None else 2
        source = Source(self.kind, "", self.path, self.name, files, (), volume, key, data=self.data)
        return Draft(
            group=self.name,
            volume="" if volume is None else f"{key}={volume + 1}",
            volumes=volumes,
            category=next((name for name in CLASSES if name in flags), "volume"),
            flags=tuple(name for name in CLASSES if name in flags),
            source=source,
            findings=tuple(findings),
            grid=grid,
            geometry=geometry,
            header_name=self.name,
            path_name=self.name,
            direct=self.direct,
        )


def is_lattice(affine: NDArray[np.float64]) -> bool:
    """Whether an affine places three different axes at lengths and places of a patient.

    Args:
        affine: (4, 4), mm.
    """
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > FARTHEST_MM:
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < LEAST_STEP_MM or lengths.max() > LARGEST_STEP_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3])) > LEAST_FLATNESS * lengths.prod())


def _sheared(grid: Grid, options: Options) -> list[Finding]:
    if options.tilt == "resample":
        return [Finding("W15")]
    return [Finding("R03", {"degrees": round(grid.shear_degrees, 1)})]


def _geometry(shape: tuple[int, int, int], grid: Grid | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"matrix": [shape[1], shape[0]], "positions": shape[2]}
    if grid is None:
        return facts
    column, row, step = grid.affine[:3, :3].T
    normal = np.cross(column, row)
    spacing = abs(float(step @ normal / np.linalg.norm(normal)))
    shift = float(np.sqrt(max(step @ step - spacing**2, 0.0)))
    return facts | {
        "pixel_spacing": [grid.spacing[1], grid.spacing[0]],
        "spacing": spacing,
        "tilt_deg": float(np.degrees(np.arctan2(shift, spacing))),
        "shift_mm": shift,
        "iop": [*(column / grid.spacing[0]), *(row / grid.spacing[1])],
        "first_ipp": grid.affine[:3, 3].tolist(),
        "last_ipp": (grid.affine[:3, 3] + (shape[2] - 1) * step).tolist(),
    }
