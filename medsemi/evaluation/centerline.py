"""Skeletons of thin structures, and the overlap of one with the mask of the other (clDice).

clDice asks whether the lines agree, not the widths: a prediction that is too thick or too thin, or
shifted by less than its radius, can reach 1. Report it beside Dice, never instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import center_of_mass
from skimage.morphology import skeletonize

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Cubic voxels around a structure.

    Attributes:
        first: place of voxel 0 in mm, from the center of voxel 0 of the volume.
        edge: of a voxel in mm.
    """

    first: Points
    edge: float

    def millimetres(self, voxels: npt.NDArray[np.integer]) -> Points:
        """Places of voxels (n, axes) in mm from the center of voxel 0 of the volume."""
        return np.asarray(self.first + voxels * self.edge)


def cubic(masks: Sequence[Mask], spacing: Sequence[float]) -> tuple[list[Mask], Grid]:
    """Crop masks to what any of them holds, on cubic voxels of the smallest edge.

    Args:
        masks: (*space) each.
        spacing: voxel edges in mm.

    Returns:
        The cropped masks with one empty voxel around, by nearest neighbor where the voxels were not
        cubes, and the grid.
    """
    edge = float(min(spacing))
    union = np.logical_or.reduce(masks)
    indices, first = [], []
    for axis, step in enumerate(spacing):
        others = tuple(set(range(union.ndim)) - {axis})
        where = np.flatnonzero(union.any(axis=others))
        low, high = (where[0], where[-1] + 1) if len(where) else (0, 1)
        count = max(round((high - low) * step / edge), 1)
        fine = low + (np.arange(count) + 0.5) * (high - low) / count
        indices.append(fine.astype(int))
        # One voxel of padding lies in front.
        first.append((low - 0.5) * step + 0.5 * edge - edge)
    cropped = [np.pad(mask[np.ix_(*indices)], 1) for mask in masks]
    return cropped, Grid(np.array(first), edge)


def skeleton(mask: Mask) -> Mask:
    """The center lines of a mask; of a blob that thins to nothing, its middle voxel.

    Args:
        mask: (*space), 2D or 3D.

    Returns:
        (*space), a part of the mask. Ends are about a radius short.

    Source: Lee, Kashyap and Chu, CVGIP 56(6), 1994 (in scikit-image).
    """
    if not mask.any():
        return np.zeros_like(mask)
    thinning: Any = skeletonize  # it has no annotations
    thin: Mask = np.asarray(thinning(mask, method="lee")).astype(bool)
    if not thin.any():
        voxels = np.argwhere(mask)
        offset = ((voxels - np.array(center_of_mass(mask))) ** 2).sum(axis=1)
        thin[tuple(voxels[offset.argmin()])] = True
    return thin


def centerline_dice(
    prediction: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    spacing: Sequence[float],
) -> float:
    """Center-line Dice (clDice) of one structure.

    Args:
        prediction: (*space), nonzero where the structure is predicted.
        reference: (*space), nonzero where it is.
        spacing: voxel edges in mm; skeletons are taken on cubic voxels.

    Returns:
        In 0..1: harmonic mean of the part of the predicted skeleton inside the reference and the
        part of the reference's skeleton inside the prediction. 1 if both are empty, 0 if one is.

    Source: Shit et al., CVPR 2021 (arXiv 2003.07311), equations 1 to 3.
    """
    found, true = prediction.astype(bool), reference.astype(bool)
    if not (found.any() and true.any()):
        return float(found.any() == true.any())
    (found, true), _ = cubic([found, true], spacing)
    found_line, true_line = skeleton(found), skeleton(true)
    precision = np.count_nonzero(found_line & true) / np.count_nonzero(found_line)
    sensitivity = np.count_nonzero(true_line & found) / np.count_nonzero(true_line)
    total = precision + sensitivity
    return float(2 * precision * sensitivity / total) if total else 0.0
