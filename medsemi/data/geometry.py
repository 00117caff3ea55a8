"""Rotated and scaled windows: drawn as a matrix, cut from the volume by interpolation.

All views of a window share its geometry, so it belongs to the window. Voxels are read from a box
around the tilted window, which therefore has no empty corners within the volume.

Source: nnU-Net (`nnUNetTrainer.get_training_transforms`, SpatialTransform of batchgeneratorsv2):
rotation and scaling with probability 0.2 each, up to 30 degrees about each axis, 0.7 to 1.4 in size.
Deviations: angles are in the space of the patient, so that voxels need not be cubes; a size is a
magnification, which half of the time is below 1, where nnU-Net draws a factor of the grid evenly from
the range; the size of the box follows the drawn matrix, and a window without a matrix is cut as
before. As there, thick slices keep their thickness (the plan of `medsemi fingerprint` also turns them
in their plane alone), and slices of 2D are turned by up to 180 degrees (bundle of the heart).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from medsemi.data.anisotropy import coarse_axis
from medsemi.data.windows import WindowDraw, cut_window
from medsemi.errors import ConfigError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How windows are turned and resized.

    Attributes:
        probability: of a rotation, and independently of a scaling; 0 changes nothing.
        rotation: largest angle about each spatial axis, in degrees; 0 keeps an axis. In 2D the last
            one counts, which turns the plane.
        scaling: least and greatest size of what is seen, by its true size.
    """

    probability: float = 0.2
    rotation: Sequence[float] = (30.0, 30.0, 30.0)
    scaling: Sequence[float] = (0.7, 1.4)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one cannot be.
        """
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"geometry_probability is {self.probability}; give 0 to 1.")
        if len(self.rotation) != 3 or not all(0 <= angle <= 180 for angle in self.rotation):
            raise ConfigError(f"rotation is {list(self.rotation)}; give three angles of 0 to 180.")
        if len(self.scaling) != 2 or not 0 < self.scaling[0] <= 1 <= self.scaling[1]:
            raise ConfigError(
                f"scaling is {list(self.scaling)}; give two sizes around 1, as 0.7, 1.4."
            )

    def draw(self, spacing: Sequence[float], generator: np.random.Generator) -> Matrix | None:
        """Draw the matrix that takes voxel offsets in the window to voxel offsets in the volume.

        Args:
            spacing: edge lengths of a voxel along the axes of the window, in mm.
            generator: where all numbers come from; untouched where the probability is 0.

        Returns:
            Shape (axes, axes); None for a window that is cut straight.
        """
        if self.probability == 0:
            return None
        turned, resized = generator.random(2) < self.probability
        if not turned and not resized:
            return None
        matrix = np.eye(len(spacing))
        if turned:
            angles = np.deg2rad(self.rotation) * generator.uniform(-1, 1, 3)
            matrix = _rotation(angles, len(spacing))
        if resized:
            low, high = self.scaling
            smaller = generator.random() < 0.5
            factors = np.full(
                len(spacing), generator.uniform(low, 1) if smaller else generator.uniform(1, high)
            )
            if (coarse := coarse_axis(spacing)) is not None:
                factors[coarse] = 1
            matrix = matrix / factors
        return np.asarray(matrix * np.asarray(spacing) / np.asarray(spacing)[:, None])


def box_around(matrix: Matrix, window: Sequence[int]) -> tuple[int, ...]:
    """Return the edges of the box, with the middle of the window, that holds all that it reads.

    Args:
        matrix: from `Geometry.draw`.
        window: spatial shape of the window, in voxels.
    """
    reach = np.abs(matrix) @ ((np.asarray(window) - 1) / 2)
    margins = [max(math.ceil(r - (n - 1) / 2), 0) for r, n in zip(reach, window, strict=True)]
    return tuple(n + 2 * margin for n, margin in zip(window, margins, strict=True))


def turned_axes(spacing: Sequence[float], turns: int) -> tuple[float, ...]:
    """Return the edge lengths of a voxel after quarter turns in the plane of the first two axes."""
    return (spacing[1], spacing[0], *spacing[2:]) if turns % 2 else tuple(spacing)


def window_cutter(
    draw: WindowDraw, window: Sequence[int], matrix: Matrix | None
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what cuts one window, rotated and scaled about its middle, from image and label alike.

    Where each voxel is read is computed once, for all arrays that the result is called with: images
    (channels, *space) of floats, which are interpolated linearly, and labels (*space) of integers,
    which take the nearest voxel. It returns a new array of the same type, shape (..., *window); zero
    outside the volume.

    Args:
        draw: from `draw_window`.
        window: spatial shape of the result, in voxels.
        matrix: from `Geometry.draw`; None cuts the window as `cut_window` does.
    """
    if matrix is None:
        return partial(cut_window, draw=draw, window=window)
    box = box_around(matrix, window)
    margins = [(n - w) // 2 for n, w in zip(box, window, strict=True)]
    around = replace(draw, corner=tuple(c - m for c, m in zip(draw.corner, margins, strict=True)))
    places = _places(matrix, window, box)

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        values = cut_window(array, around, box)
        lead = array.shape[: array.ndim - len(window)]
        if not np.issubdtype(array.dtype, np.floating):
            return values.reshape(*lead, -1)[..., _nearest(places, box)]
        channels = torch.from_numpy(values.astype(np.float32, copy=False).reshape(1, -1, *box))
        grid = torch.from_numpy(places)[None]
        turned = functional.grid_sample(channels, grid, "bilinear", "zeros", align_corners=False)
        return turned.numpy().reshape(*lead, *window).astype(array.dtype, copy=False)

    return cut


def _places(matrix: Matrix, window: Sequence[int], box: Sequence[int]) -> NDArray[np.float32]:
    # Where each voxel is read, as grid_sample counts: -1 to 1 over the box, the last axis first. Sums
    # of one row per axis take a fifth of the time of `affine_grid`, which multiplies matrices.
    scaled = (matrix * np.asarray(window) / np.asarray(box)[:, None])[::-1]
    offsets = [(2 * np.arange(n) + 1) / n - 1 for n in window]
    places = np.empty((*window, len(window)), np.float32)
    for axis, factors in enumerate(scaled):
        place = np.zeros((), np.float32)
        for factor, offset in zip(factors, offsets, strict=True):
            place = place[..., None] + (factor * offset).astype(np.float32)
        places[..., axis] = place
    return places


def _nearest(places: NDArray[np.float32], box: Sequence[int]) -> NDArray[np.intp]:
    # Index of the voxel of the flat box that lies nearest to each place: what grid_sample takes as
    # well, but only from floats and in more than twice the time.
    index = np.zeros(places.shape[:-1], np.intp)
    for axis, n in enumerate(box):
        voxel = ((places[..., -1 - axis] + 1) * n - 1) / 2
        index = index * n + np.rint(voxel).astype(np.intp).clip(0, n - 1)
    return index


def _rotation(angles: NDArray[np.float64], axes: int) -> Matrix:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        if axes == 2 and axis < 2:
            continue
        one, two = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = math.cos(angle)
        turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix[:axes, :axes]
