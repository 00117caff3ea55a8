"""How large each structure is, where it lies, and how bright it is: volumes.csv and volumes.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy import ndimage

from medsemi.prediction.case import Case, Grid, Volume
from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Label, Model

SCHEMA = "medsemi.volumes/1"
SIDES = "RLAPSI"
OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
NO_SIDE = "none"
DECIMALS = 6
Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class StructureMeasures:
    """One line of volumes.csv; what an empty structure does not have is None.

    Attributes:
        case_id: of the case.
        label: number in the label map.
        name: of the structure.
        volume_ml: voxels × |det A|; exact for sheared grids too.
        voxels: number of voxels.
        voxel_mm3: volume of a voxel.
        components: number of connected parts, 26 neighbors.
        largest_component_ml: volume of the largest of them.
        interpolated_ml: volume on slices that no source slice lies on.
        touches_border: letters of the sides of the image that the structure reaches, in the order
            R L A P S I; `none`.
        first_slice: of the structure, from 0, along the normal.
        last_slice: of the structure.
        centroid_x_mm: patient coordinates, LPS.
        centroid_y_mm: patient coordinates, LPS.
        centroid_z_mm: patient coordinates, LPS.
        mean: of the source values within, in `unit`.
        sd: standard deviation of them (divided by their number).
        p05: 5th percentile of them.
        p95: 95th percentile of them.
        unit: HU or `none`.
    """

    case_id: str
    label: int
    name: str
    volume_ml: float
    voxels: int
    voxel_mm3: float
    components: int
    largest_component_ml: float
    interpolated_ml: float
    touches_border: str = NO_SIDE
    first_slice: int | None = None
    last_slice: int | None = None
    centroid_x_mm: float | None = None
    centroid_y_mm: float | None = None
    centroid_z_mm: float | None = None
    mean: float | None = None
    sd: float | None = None
    p05: float | None = None
    p95: float | None = None
    unit: str = "none"


COLUMNS = tuple(field.name for field in fields(StructureMeasures))


def measure_structures(
    case: Case, volume: Volume, labels: NDArray[np.unsignedinteger[Any]], model: Model
) -> list[StructureMeasures]:
    """Measure every label of a model, one after the other, each within its bounding box.

    Args:
        case: with its grid.
        volume: values indexed like `labels`.
        labels: (column, row, slice), on the grid of the case.
        model: names the labels.

    Raises:
        ValueError: the case has no grid.
    """
    if case.grid is None:
        raise ValueError("a case without a grid has no volumes")
    # Transposed, the order is that of the memory: boxes and masks are read along it.
    boxes = ndimage.find_objects(labels.T, max_label=len(model.labels))
    return [
        _absent(case, label, volume, case.grid)
        if box is None
        else _measure(case, volume, labels.T, label, box)
        for label, box in zip(model.labels, boxes, strict=True)
    ]


def _absent(case: Case, label: Label, volume: Volume, grid: Grid) -> StructureMeasures:
    size = round(grid.voxel_mm3, DECIMALS)
    unit = volume.unit or "none"
    return StructureMeasures(
        case.case_id, label.number, label.name, 0.0, 0, size, 0, 0.0, 0.0, unit=unit
    )


def _measure(
    case: Case, volume: Volume, labels: NDArray[np.unsignedinteger[Any]], label: Label, box: Box
) -> StructureMeasures:
    """Measures of a label that is there; `labels` and `box` are (slice, row, column)."""
    grid = case.grid
    assert grid is not None
    mask = labels[box] == label.number
    per_slice = np.count_nonzero(mask, axis=(1, 2))
    voxels, ml = int(per_slice.sum()), grid.voxel_mm3 / 1000
    first, last = box[0].start, box[0].stop - 1
    interpolated = [i - first for i in case.interpolated if first <= i <= last]
    components, largest = _components(mask)
    x, y, z = _centroid(mask, box, grid)
    mean, sd, p05, p95 = _intensity(volume.values.T[box][mask])
    return StructureMeasures(
        case_id=case.case_id,
        label=label.number,
        name=label.name,
        volume_ml=round(voxels * ml, DECIMALS),
        voxels=voxels,
        voxel_mm3=round(grid.voxel_mm3, DECIMALS),
        components=components,
        largest_component_ml=round(largest * ml, DECIMALS),
        interpolated_ml=round(int(per_slice[interpolated].sum()) * ml, DECIMALS),
        touches_border=_sides(box, labels.shape, grid),
        first_slice=first,
        last_slice=last,
        centroid_x_mm=x,
        centroid_y_mm=y,
        centroid_z_mm=z,
        mean=mean,
        sd=sd,
        p05=p05,
        p95=p95,
        unit=volume.unit or "none",
    )


def _components(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Number of connected parts and voxels of the largest; slice by slice, to count without copies."""
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in parts:
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    return count, int(sizes[1:].max())


def _centroid(mask: NDArray[np.bool_], box: Box, grid: Grid) -> tuple[float, float, float]:
    index = np.ones(4)
    for axis in range(3):  # slice, row, column
        others = tuple(other for other in range(3) if other != axis)
        weights = np.count_nonzero(mask, axis=others)
        index[2 - axis] = box[axis].start + np.average(np.arange(weights.size), weights=weights)
    x, y, z = np.round(grid.affine @ index, DECIMALS)[:3].tolist()
    return x, y, z


def _intensity(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Mean, SD, 5th and 95th percentile; `values` are overwritten."""
    p05, p95 = np.percentile(values, (5, 95), overwrite_input=True)
    mean = values.mean(dtype=np.float64)
    np.square(np.subtract(values, np.float32(mean), out=values), out=values)
    sd = np.sqrt(values.mean(dtype=np.float64))
    mean, sd, p05, p95 = (round(float(each), DECIMALS) for each in (mean, sd, p05, p95))
    return mean, sd, p05, p95


def _sides(box: Box, shape: Sequence[int], grid: Grid) -> str:
    """Sides of the image that a box reaches; each axis gets the letter that it is closest to."""
    touched = set()
    for part, size, positive in zip(
        box, shape, reversed(aff2axcodes(grid.affine_ras)), strict=True
    ):
        touched |= {positive} if part.stop == size else set()
        touched |= {OPPOSITE[positive]} if part.start == 0 else set()
    return "".join(side for side in SIDES if side in touched) or NO_SIDE


def volume_findings(measures: Sequence[StructureMeasures]) -> list[Finding]:
    """W17 if nothing was found at all; W18 for each structure that the image may cut off."""
    if not any(each.voxels for each in measures):
        return [Finding("W17")]
    return [
        Finding("W18", {"label": each.name, "sides": ", ".join(each.touches_border)})
        for each in measures
        if each.touches_border != NO_SIDE
    ]


def write_volumes_csv(path: Path, measures: Sequence[StructureMeasures]) -> None:
    """Write one line per label, UTF-8, comma and point; what is unknown is empty.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        lines = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(asdict(each) for each in measures)


def write_volumes_json(
    path: Path, measures: Sequence[StructureMeasures], case_id: str, fingerprint: str
) -> None:
    """Write the same, nested, with the fingerprint of the result.

    Raises:
        OSError: if the file cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "case_id": case_id,
        "fingerprint": fingerprint,
        "structures": [_nested(each) for each in measures],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _nested(each: StructureMeasures) -> dict[str, Any]:
    empty = each.voxels == 0
    centroid = [each.centroid_x_mm, each.centroid_y_mm, each.centroid_z_mm]
    return {
        "label": each.label,
        "name": each.name,
        "volume_ml": each.volume_ml,
        "voxels": each.voxels,
        "voxel_mm3": each.voxel_mm3,
        "components": each.components,
        "largest_component_ml": each.largest_component_ml,
        "interpolated_ml": each.interpolated_ml,
        "touches_border": each.touches_border,
        "slices": None if empty else [each.first_slice, each.last_slice],
        "centroid_lps_mm": None if empty else centroid,
        "intensity": None
        if empty
        else {"mean": each.mean, "sd": each.sd, "p05": each.p05, "p95": each.p95},
        "unit": each.unit,
    }
