"""What the positions of a stack form: a regular lattice, one with gaps, an uneven one; tilted or not.

Tolerances are wider than the rounding seen in real headers (steps 2.37 and 2.38 of one scan) and
narrower than any step that would move a voxel visibly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.case import Grid
from medsemi.prediction.discovery.header import Place

# One position has no distance to another: its voxels have no volume.
LEAST_POSITIONS = 2
STEP_TOLERANCE, STEP_TOLERANCE_MM = 0.02, 0.02
DRIFT_TOLERANCE, DRIFT_TOLERANCE_MM = 0.1, 0.25
WHOLE_STEP_TOLERANCE = 0.05
STRAIGHT_PIXELS = 0.5
# A real stack of four slices at 15.5 degrees drifts by 0.8 pixels.
TILT_DEGREES, TILT_PIXELS = 0.5, 0.5
MOST_MISSING, MOST_MISSING_IN_A_ROW = 0.10, 3
LARGEST_UNEVEN_STEP = 3.0
LEAST_STEP_MM = 0.5


@dataclass(frozen=True, eq=False)
class Lattice:
    """The measured arrangement of at least two positions.

    Attributes:
        along: distance of each position along the normal, ascending, mm.
        origins: (N, 3) centers of the first pixels, LPS, mm.
        first: place of the first position.
        matrix: rows, columns.
        kind: what the positions form.
        steps: whole steps between neighbors; all 1 unless there are gaps.
        straight: whether the origins lie on one line.
    """

    along: NDArray[np.float64]
    origins: NDArray[np.float64]
    first: Place
    matrix: tuple[int, int]
    kind: Literal["regular", "gaps", "uneven"]
    steps: tuple[int, ...]
    straight: bool

    @property
    def distances(self) -> NDArray[np.float64]:
        """Between neighbors along the normal, mm."""
        return np.diff(self.along)

    @property
    def missing(self) -> int:
        """Number of slices that are not there."""
        return sum(self.steps) - len(self.steps)

    @property
    def missing_after(self) -> tuple[int, ...]:
        """0-based positions after which slices are missing."""
        return tuple(index for index, step in enumerate(self.steps) if step > 1)

    @property
    def length(self) -> float:
        """From the first to the last position along the normal, mm."""
        return float(self.along[-1] - self.along[0])

    @property
    def spacing(self) -> float:
        """Mean distance of neighbors along the normal, mm; of a stack with gaps, that of one step."""
        return self.length / sum(self.steps)

    @property
    def step(self) -> NDArray[np.float64]:
        """Vector of one step, (3,), LPS, mm."""
        whole: NDArray[np.float64] = self.origins[-1] - self.origins[0]
        return whole / sum(self.steps)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the step and the normal."""
        return float(np.degrees(np.arctan2(self.shift, self.spacing)))

    @property
    def shift(self) -> float:
        """Sideways move of one step, mm."""
        normal = self.first.normal
        return float(np.linalg.norm(self.step - normal * (self.step @ normal)))

    @property
    def tilted(self) -> bool:
        """Whether the stack leans by more than rounding."""
        drift = self.shift * sum(self.steps)
        return self.tilt_degrees > TILT_DEGREES and drift > TILT_PIXELS * min(self.first.spacing)

    @property
    def can_be_filled(self) -> bool:
        """Whether little enough is missing to be interpolated."""
        if self.kind == "gaps":
            few = self.missing <= MOST_MISSING * len(self.along)
            return few and max(self.steps) - 1 <= MOST_MISSING_IN_A_ROW and self._on_whole_steps()
        largest = LARGEST_UNEVEN_STEP * float(np.median(self.distances))
        return self.straight and bool(self.distances.max() <= largest)

    def _on_whole_steps(self) -> bool:
        """Whether every position lies where a regular lattice has a slice."""
        expected = np.cumsum([0, *self.steps]) * self.spacing
        error = np.abs(self.along - self.along[0] - expected).max()
        return bool(error <= _drift_limit(self.spacing))

    def grid(self) -> Grid:
        """The lattice as it is, with every whole step filled; sheared if tilted."""
        return self._grid(self.step, sum(self.steps) + 1)

    def slice_index(self) -> tuple[float, ...]:
        """Where each position lies on the slice axis of `grid`."""
        return tuple(float(index) for index in np.cumsum([0, *self.steps]))

    def even_grid(self) -> Grid:
        """A regular grid from the first to the last position, at the smallest step or just below."""
        least = max(float(self.distances.min()), LEAST_STEP_MM)
        intervals = max(int(np.ceil(self.length / least - 1e-6)), 1)
        if self.length / intervals < LEAST_STEP_MM:
            intervals = max(int(self.length / LEAST_STEP_MM), 1)
        return self._grid((self.origins[-1] - self.origins[0]) / intervals, intervals + 1)

    def even_slice_index(self) -> tuple[float, ...]:
        """Where each position lies on the slice axis of `even_grid`."""
        last = self.even_grid().shape[2] - 1
        return tuple(((self.along - self.along[0]) / self.length * last).tolist())

    def facts(self) -> dict[str, Any]:
        """Measured facts, as plain values; see `medsemi.prediction.case.Case`."""
        facts: dict[str, Any] = {
            "spacing": self.spacing,
            "step_min": float(self.distances.min()),
            "step_max": float(self.distances.max()),
            "tilt_deg": self.tilt_degrees,
            "shift_mm": self.shift,
        }
        if self.missing:
            facts |= {"missing": self.missing, "missing_after": list(self.missing_after)}
        return facts

    def _grid(self, step: NDArray[np.float64], slices: int) -> Grid:
        between_rows, between_columns = self.first.spacing
        affine = np.eye(4)
        affine[:3, 0] = between_columns * self.first.along_columns
        affine[:3, 1] = between_rows * self.first.along_rows
        affine[:3, 2] = step
        affine[:3, 3] = self.first.position
        rows, columns = self.matrix
        return Grid((columns, rows, slices), affine)


def measure(places: Sequence[Place], matrix: tuple[int, int]) -> Lattice:
    """Measure a stack.

    Args:
        places: at least `LEAST_POSITIONS`, in order along the normal of the first, no position twice.
        matrix: rows, columns.
    """
    origins = np.array([place.position for place in places])
    along = origins @ places[0].normal
    straight = _is_straight(origins, STRAIGHT_PIXELS * min(places[0].spacing))
    steps, kind = _steps(along)
    if not straight:
        steps, kind = (1,) * len(steps), "uneven"
    return Lattice(along, origins, places[0], matrix, kind, steps, straight)


def _steps(
    along: NDArray[np.float64],
) -> tuple[tuple[int, ...], Literal["regular", "gaps", "uneven"]]:
    distances = np.diff(along)
    one_each = (1,) * len(distances)
    median = float(np.median(distances))
    even = np.abs(distances - median).max() <= max(STEP_TOLERANCE * median, STEP_TOLERANCE_MM)
    if even and _distance_from_fit(along) <= _drift_limit(median):
        return one_each, "regular"
    for unit in (median, float(np.quantile(distances, 0.25)), float(distances.min())):
        ratio = distances / unit
        whole = np.maximum(np.round(ratio), 1)
        if np.abs(ratio - whole).max() <= WHOLE_STEP_TOLERANCE and whole.max() > 1:
            return tuple(int(step) for step in whole), "gaps"
    return one_each, "uneven"


def _drift_limit(step: float) -> float:
    return min(DRIFT_TOLERANCE * step, DRIFT_TOLERANCE_MM)


def _distance_from_fit(along: NDArray[np.float64]) -> float:
    """Largest distance of the positions from their straight line."""
    index = np.arange(len(along)) - (len(along) - 1) / 2
    centered = along - along.mean()
    slope = (index @ centered) / (index @ index)
    return float(np.abs(centered - slope * index).max())


def _is_straight(origins: NDArray[np.float64], tolerance: float) -> bool:
    """Whether all points lie near the line from the first to the last."""
    line = origins[-1] - origins[0]
    line = line / np.linalg.norm(line)
    offset = origins - origins[0]
    aside = offset - np.outer(offset @ line, line)
    return bool(np.linalg.norm(aside, axis=1).max() <= tolerance)
