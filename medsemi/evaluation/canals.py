"""Which root canals were found, how far they were followed, and what was invented.

Dice is dominated by the pulp chamber; what a dentist misses is a canal. The measures are a
proposal of this project: there is no accepted standard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial import cKDTree
from scipy.stats import beta

from medsemi.evaluation.canal_lines import find_chamber, trace_canals
from medsemi.evaluation.centerline import Grid, Mask, Points, cubic, skeleton

FOUND, FOLLOWED = 0.5, 0.9


@dataclass(frozen=True)
class CanalScore:
    """How well one canal was found.

    Attributes:
        length_mm: of its center line.
        covered: part of the center line within the tolerance of the prediction, in 0..1.
        apical_reach_mm: way from the end of the center line back to the last predicted point that
            is connected with the chamber, where the line begins; 0 is perfect.
        breaks: gaps in the prediction along the line, also before its first predicted point.
    """

    length_mm: float
    covered: float
    apical_reach_mm: float
    breaks: int

    @property
    def is_found(self) -> bool:
        """Half of the canal or more was found."""
        return self.covered >= FOUND

    @property
    def is_followed(self) -> bool:
        """Nine tenths of the canal or more were found."""
        return self.covered >= FOLLOWED


def score_canal(
    line: Points,
    prediction: npt.NDArray[np.generic],
    spacing: Sequence[float],
    tolerance: float = 0.3,
    largest_gap: float = 0.5,
) -> CanalScore:
    """Score one canal whose center line is known.

    Args:
        line: (n, axes) center line in mm from the center of voxel 0, chamber first.
        prediction: (*space), nonzero where pulp is predicted.
        spacing: voxel edges in mm.
        tolerance: largest distance in mm of a point from the prediction that counts as found.
        largest_gap: longest piece in mm without prediction that is no break.

    Returns:
        The score.
    """
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(along[-1])
    found = prediction.astype(bool)
    if not found.any():
        return CanalScore(length, 0.0, length, 0)
    away = _sample(distance_transform_edt(~found, sampling=spacing), line / spacing)
    weights = np.gradient(along)
    covered = float(weights[away <= tolerance + 1e-6].sum() / weights.sum())
    hits = _hits(line, np.argwhere(found) * np.array(spacing, float), tolerance)
    if not len(hits):
        return CanalScore(length, covered, length, 0)
    # A piece of one voxel without prediction lies between points two steps apart.
    # What lies beyond one, seen from the chamber, is not reached, and nothing is where it is the first.
    gaps = np.diff(along[hits], prepend=0.0) - float(np.median(steps))
    wide = np.flatnonzero(gaps > largest_gap + 1e-6)
    reached = [0.0, *along[hits]][wide[0]] if len(wide) else along[hits[-1]]
    return CanalScore(length, covered, length - float(reached), len(wide))


def _hits(line: Points, voxels: Points, tolerance: float) -> npt.NDArray[np.int64]:
    """Points of the line that are next to a predicted voxel within the tolerance."""
    away, nearest = cKDTree(line).query(voxels, distance_upper_bound=tolerance + 1e-6)
    return np.unique(nearest[np.isfinite(away)])


def _sample(values: Points, places: Points) -> Points:
    return np.asarray(map_coordinates(values, places.T, order=1, mode="nearest"))


def score_tooth(
    prediction: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    spacing: Sequence[float],
    tolerance: float = 0.3,
    shortest: float = 2.0,
) -> dict[str, float]:
    """Score all canals of one tooth, whose anatomy is read from the reference.

    Args:
        prediction: (*space), nonzero where pulp is predicted.
        reference: (*space), nonzero in chamber and canals of one tooth.
        spacing: voxel edges in mm.
        tolerance: see `score_canal`.
        shortest: length of a canal in mm.

    Returns:
        `canals`, `canals_found`, `canals_followed`, `false_canals` (predicted canals less than half
        of which lie within the tolerance of the reference), `breaks`, `apical_reach_mm` (mean over
        canals) and `width_error_mm` (median of predicted minus true width along what was found);
        NaN where there is nothing to measure.
    """
    found, true = prediction.astype(bool), reference.astype(bool)
    (small, exact), grid = cubic([found, true], spacing)
    # Without a reference, canals are counted from the chamber that was predicted.
    chamber = find_chamber(exact if exact.any() else small)
    voxels = trace_canals(exact, chamber, grid.edge, shortest)
    lines = [grid.millimetres(line) - grid.first for line in voxels]
    cube = [grid.edge] * exact.ndim
    scores = [score_canal(line, small, cube, tolerance) for line in lines]
    reaches = [score.apical_reach_mm for score in scores]
    return {
        "canals": float(len(scores)),
        "canals_found": float(sum(score.is_found for score in scores)),
        "canals_followed": float(sum(score.is_followed for score in scores)),
        "false_canals": float(_false_canals(small, exact, chamber, grid, tolerance, shortest)),
        "breaks": float(sum(score.breaks for score in scores)),
        "apical_reach_mm": float(np.mean(reaches)) if reaches else math.nan,
        "width_error_mm": _width_error(small, exact, voxels, grid.edge, tolerance),
    }


def _false_canals(
    found: Mask, true: Mask, chamber: Mask, grid: Grid, tolerance: float, shortest: float
) -> int:
    lines = trace_canals(found, chamber, grid.edge, shortest)
    if not true.any():
        return len(lines)
    near = distance_transform_edt(~true, sampling=grid.edge) <= tolerance + 1e-6
    return sum(near[tuple(line.T)].mean() < FOUND for line in lines)


def _width_error(
    found: Mask,
    true: Mask,
    lines: Sequence[npt.NDArray[np.int64]],
    edge: float,
    tolerance: float,
) -> float:
    """Widths from the distance to the surface, at the nearest points of both center lines."""
    if not (lines and found.any()):
        return math.nan
    points, thin = np.concatenate(lines), np.argwhere(skeleton(found))
    _, nearest = cKDTree(thin).query(points)
    reached = distance_transform_edt(~found, sampling=edge)[tuple(points.T)] <= tolerance + 1e-6
    if not reached.any():
        return math.nan
    wide, exact = (distance_transform_edt(mask, sampling=edge) for mask in (found, true))
    difference = 2 * (wide[tuple(thin[nearest].T)] - exact[tuple(points.T)])
    return float(np.median(difference[reached]))


def pooled_sensitivity(cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Canals found of all canals of all teeth, and false canals per tooth.

    Args:
        cases: as `score_tooth` returns them.

    Returns:
        `canals`, `canals_found`, `sensitivity` with the bounds `low` and `high` of its exact 95 %
        interval, and `false_canals_per_tooth`; without canals the sensitivity is NaN and the interval 0
        to 1, without teeth the last is NaN. Canals of one tooth are counted as independent, which
        makes the interval a little narrow.

    Source: Clopper and Pearson, Biometrika 26, 1934.
    """
    total = sum(case["canals"] for case in cases)
    found = sum(case["canals_found"] for case in cases)
    false = sum(case["false_canals"] for case in cases) / len(cases) if cases else math.nan
    low = float(beta.ppf(0.025, found, total - found + 1)) if found else 0.0
    high = float(beta.ppf(0.975, found + 1, total - found)) if found < total else 1.0
    return {
        "canals": total,
        "canals_found": found,
        "sensitivity": found / total if total else math.nan,
        "low": low,
        "high": high,
        "false_canals_per_tooth": false,
    }
