"""What the images of a training were like, and whether a new one is like them.

Training stores the least and the greatest of each measure in the bundle; prediction warns (W16).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsemi.prediction.case import Case, Volume
from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Model

# Percentiles of every n-th voxel: more do not change them.
MOST_VOXELS = 2**20
# A length may lie outside by this factor, a value by this part of the range of all training values.
LENGTH_FACTOR = 1.25
VALUE_MARGIN = 0.25
PERCENTILES = {"intensity_p0_5": 0.5, "intensity_p50": 50.0, "intensity_p99_5": 99.5}
WORDS = {
    "spacing_least_mm": "smallest voxel edge in mm",
    "spacing_greatest_mm": "largest voxel edge in mm",
    "fov_least_mm": "shortest side of the image in mm",
    "fov_greatest_mm": "longest side of the image in mm",
    "intensity_p0_5": "darkest values",
    "intensity_p50": "middle value",
    "intensity_p99_5": "brightest values",
}


def measure_ranges(values: NDArray[np.floating[Any]], affine: ArrayLike) -> dict[str, float]:
    """Measure an image; the order and direction of its axes do not matter.

    Args:
        values: of three axes, in source units.
        affine: (4, 4) or (3, 3), from voxel indices to mm.

    Returns:
        A value for each key of `WORDS`.
    """
    spacing = np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0)
    extent = spacing * values.shape
    flat = values.ravel(order="K")
    some = flat[:: max(1, flat.size // MOST_VOXELS)].astype(np.float32)
    percentiles = np.percentile(some, list(PERCENTILES.values()))
    measures = {
        "spacing_least_mm": spacing.min(),
        "spacing_greatest_mm": spacing.max(),
        "fov_least_mm": extent.min(),
        "fov_greatest_mm": extent.max(),
        **dict(zip(PERCENTILES, percentiles, strict=True)),
    }
    return {name: float(value) for name, value in measures.items()}


def merge_ranges(measured: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """The least and the greatest of each measure, as a bundle stores them.

    Args:
        measured: one result of `measure_ranges` for each image; at least one.
    """
    images = list(measured)
    return {
        name: [min(image[name] for image in images), max(image[name] for image in images)]
        for name in WORDS
    }


def outside_ranges(
    measures: Mapping[str, float], ranges: Mapping[str, Sequence[float]], *, intensity: bool = True
) -> list[str]:
    """Say which measures of an image are unlike those of the training.

    Args:
        measures: of the image.
        ranges: least and greatest of each measure in the training; measures without are not judged.
        intensity: whether values are compared; not where the network standardizes them anyway.

    Returns:
        Plain words for each deviation, with the value and the range.
    """
    values = [end for name in PERCENTILES for end in ranges.get(name, ())]
    margin = VALUE_MARGIN * (max(values) - min(values)) if values else 0.0
    found = []
    for name, words in WORDS.items():
        if name not in ranges or name not in measures:
            continue
        least, greatest = ranges[name]
        if name in PERCENTILES:
            fits = not intensity or least - margin <= measures[name] <= greatest + margin
        else:
            fits = least / LENGTH_FACTOR <= measures[name] <= greatest * LENGTH_FACTOR
        if not fits:
            found.append(f"{words} {measures[name]:.4g} (training {least:.4g} to {greatest:.4g})")
    return found


def range_findings(model: Model, case: Case, volume: Volume) -> tuple[Finding, ...]:
    """W16 where an image is unlike what the model was trained on.

    Args:
        model: with `training_ranges` and `body_part`.
        case: a case with a grid.
        volume: its voxels.
    """
    assert case.grid is not None
    found = []
    if model.training_ranges:
        measures = measure_ranges(volume.values, case.grid.affine)
        standardized = model.intensity.norm == "zscore"
        found = outside_ranges(measures, model.training_ranges, intensity=not standardized)
    stated = str(case.source.tags.get("body_part") or "").strip().upper()
    if model.body_part and stated and stated != model.body_part.strip().upper():
        found.append(f"the header names another body part than {model.body_part}")
    return (Finding("W16", {"what": "; ".join(found)}),) if found else ()
