"""Voxel values as the network expects them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medsemi.prediction.model import Intensity

# A volume of one value has no spread to divide by.
LEAST_SD = 1e-8


def background_of(values: NDArray[np.float32], intensity: Intensity) -> float:
    """Value outside the scan, in source units."""
    return float(values.min()) if intensity.background is None else intensity.background


def normalize(image: Tensor, values: NDArray[np.float32], intensity: Intensity) -> Tensor:
    """Normalize a volume in place.

    Args:
        image: float32 of any shape, in source units, clipped already; overwritten.
        values: the volume on its source grid, from which mean and SD, or least and
            greatest, are taken: what was filled in
            beside a tilted stack does not count.
        intensity: what is to be done.

    Returns:
        `image`.
    """
    if intensity.norm == "zscore":
        mean, sd = _mean_and_sd(values, intensity.clip)
        image.sub_(mean).div_(max(sd, LEAST_SD))
    elif intensity.norm == "minmax":
        least, greatest = (float(extreme) for extreme in (values.min(), values.max()))
        if intensity.clip is not None:
            least, greatest = np.clip((least, greatest), *intensity.clip).tolist()
        image.sub_(least).div_(max(greatest - least, LEAST_SD))
    elif intensity.norm == "range":
        assert intensity.clip is not None
        least, greatest = intensity.clip
        image.sub_(least).div_(greatest - least)
    return image


def _mean_and_sd(
    values: NDArray[np.float32], clip: tuple[float, float] | None
) -> tuple[float, float]:
    """Mean and SD of the clipped values, slice by slice so that no copy of the volume is made."""
    sums = np.zeros(2)
    shift = float(values.flat[0])
    for plane in values.T:
        clipped = plane if clip is None else np.clip(plane, *clip)
        centered = clipped.astype(np.float64) - shift
        sums += centered.sum(), np.square(centered).sum()
    mean, square = sums / values.size
    return float(mean + shift), float(np.sqrt(max(square - mean**2, 0)))
