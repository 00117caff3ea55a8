"""From stored values to source values: rescaling of each frame, padding, what is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.layout import PixelType, whole

# A padding value at or below it is less than any tissue, and so is all that is below the padding.
LEAST_TISSUE_HU = -1000.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Source value = slope × stored value + intercept.

    Attributes:
        slope: not zero.
        intercept: in source units.
        unit: `HU` or empty.
    """

    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""


def frame_scale(header: Dataset, frame: int, modality: str) -> Scale:
    """The scale of a frame: its own, else that shared by all, else that of the image.

    Args:
        header: of the image.
        frame: from 0.
        modality: of the case; only CT has Hounsfield units.

    Raises:
        CaseRefused: R08 if the scale cannot be read or is none.
    """
    try:
        for group in _groups(header, frame):
            if "RescaleSlope" in group or "RescaleIntercept" in group:
                return _scale(group, modality)
    except CaseRefused:
        raise
    # A damaged element raises what its bytes happen to be.
    except Exception as error:
        raise CaseRefused("R08", why="the scale of the values cannot be read") from error
    return Scale()


def _groups(header: Dataset, frame: int) -> Iterator[Dataset]:
    own = header.get("PerFrameFunctionalGroupsSequence")
    if own and frame >= len(own):
        raise CaseRefused("R08", why="fewer frames described than stored")
    shared = header.get("SharedFunctionalGroupsSequence")
    for groups in ([own[frame]] if own else [], list(shared or [])[:1]):
        for group in groups:
            if transformation := group.get("PixelValueTransformationSequence"):
                yield transformation[0]
    yield header


def _scale(group: Dataset, modality: str) -> Scale:
    slope, intercept = (
        default if group.get(keyword) is None else float(group[keyword].value)
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if not (isfinite(slope) and isfinite(intercept) and slope != 0):
        raise CaseRefused("R08", why="RescaleSlope is 0 or not finite")
    kind = str(group.get("RescaleType") or "HU").strip().upper()
    return Scale(slope, intercept, "HU" if modality == "CT" and kind == "HU" else "")


def padding_range(header: Dataset, pixels: PixelType, scale: Scale) -> tuple[int, int] | None:
    """Stored values, first to last, that stand for no measurement.

    Args:
        header: of the image.
        pixels: type of its values.
        scale: of the frame.

    Raises:
        CaseRefused: R08 if the padding cannot be read.
    """
    if pixels.floating or header.get("PixelPaddingValue") is None:
        return None
    value = _as_stored(whole(header, "PixelPaddingValue"), pixels)
    limit = _as_stored(whole(header, "PixelPaddingRangeLimit", value), pixels)
    least, most = sorted((value, limit))
    below_tissue = scale.slope * most + scale.intercept <= LEAST_TISSUE_HU
    if scale.unit == "HU" and scale.slope > 0 and below_tissue:
        least = int(np.iinfo(pixels.dtype.str).min)
    return least, most


def _as_stored(value: int, pixels: PixelType) -> int:
    """A number of the header in the type of the pixels: many writers mix up signed and unsigned."""
    bits = pixels.allocated
    value &= (1 << bits) - 1
    return value - (1 << bits) if pixels.signed and value >> (bits - 1) else value


def source_values(
    stored: NDArray[Any], scale: Scale, padding: tuple[int, int] | None = None
) -> tuple[NDArray[np.float32], int]:
    """Source values of an array of stored ones.

    Args:
        stored: of any shape, integers or floats.
        scale: to apply.
        padding: first and last stored value that stands for no measurement.

    Returns:
        Values, NaN where there is no measurement or none that is finite; number of the latter.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if scale.slope == 1 and stored.dtype.itemsize <= 2:  # exact, in half the time
            values = np.add(stored, np.float32(scale.intercept), dtype=np.float32)
        else:
            values = (stored.astype(np.float64) * scale.slope + scale.intercept).astype(np.float32)
    damaged = ~np.isfinite(values)
    count = int(damaged.sum())
    if count:
        values[damaged] = np.nan
    if padding is not None:
        values[(stored >= padding[0]) & (stored <= padding[1])] = np.nan
    return values, count


def paint_background(planes: NDArray[np.float32], background: float | None) -> None:
    """Replace NaN, in place.

    Args:
        planes: (slices, rows, columns).
        background: value to put there; None takes the least value of the volume.
    """
    holes = [plane for plane in planes if np.isnan(plane).any()]
    if not holes:
        return
    if background is None:
        least = min(float(np.fmin.reduce(plane, axis=None)) for plane in planes)
        background = 0.0 if np.isnan(least) else least
    for plane in holes:
        plane[np.isnan(plane)] = background
