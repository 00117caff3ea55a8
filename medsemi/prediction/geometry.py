"""The grid that a network works on, and where it lies in the grid of the source.

The working grid is orthogonal and keeps the planes of the source: one of its axes is the normal of
the slices, whether the stack is tilted or not. So every plane of either grid lies between two planes
of the other, and volumes are resampled plane by plane.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.case import Grid

# A stack that deviates less from right angles is taken as orthogonal where nothing is resampled.
NEARLY_ORTHOGONAL_DEGREES = 0.1
# In voxels: lattices that differ by less coincide, and a box that is longer by less gets no voxel more.
TOLERANCE = 1e-3
# The axis and the sign in LPS of each axis code; a code names the positive direction.
CODE_DIRECTIONS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}

Axes = tuple[int, int, int]


def working_grid(
    source: Grid, spacing: tuple[float, float, float] | None, orientation: str | None
) -> Grid:
    """The orthogonal grid that a network sees.

    Its first axis is the source axis that is closest to the first code of `orientation`, and so on.
    It covers the whole voxels of the source, begins with the edge of the first one, and has exactly
    the spacing asked for; the last voxel of an axis may reach beyond the source.

    Args:
        source: lattice of the images, possibly sheared.
        spacing: in mm along each axis of `orientation`. None keeps that of the source; an orthogonal
            source is then only permuted and flipped, and nothing needs to be interpolated.
        orientation: three axis codes such as RAS; None keeps the axes of the source.

    Raises:
        ValueError: if the axes of `source` do not span space.
    """
    frame = _frame(source)
    order, signs = (0, 1, 2), np.ones(3)
    if orientation is not None:
        order, signs = _closest_axes(frame, orientation)
    if spacing is None and source.shear_degrees <= NEARLY_ORTHOGONAL_DEGREES:
        return _rearranged(source, order, signs)
    steps = _steps(source, frame)[list(order)] if spacing is None else np.asarray(spacing, float)
    return _box_around(source, frame[:, order] * signs, steps)


def orthogonal_grid(source: Grid) -> Grid:
    """The straightened grid beside a tilted stack, for viewers that know no sheared ones.

    Axes in the order and direction of the source; in-plane spacing of the source; its true slice
    distance, and its planes.

    Args:
        source: a sheared grid.

    Raises:
        ValueError: if the axes of `source` do not span space.
    """
    frame = _frame(source)
    return _box_around(source, frame, _steps(source, frame))


def index_transform(from_grid: Grid, to_grid: Grid) -> NDArray[np.float64]:
    """(4, 4) matrix from voxel indices of one grid to (fractional) voxel indices of another."""
    return np.linalg.solve(to_grid.affine, from_grid.affine).astype(np.float64)


def matching_axes(working: Grid, stack: Grid) -> Axes:
    """The axes of `working` that run along slices, rows and columns of `stack`.

    Args:
        working: an orthogonal grid whose axes are those of the stack, permuted or flipped.
        stack: indexed (column, row, slice).

    Returns:
        The axis along the slice normal, the one along growing row index, and the third.

    Raises:
        ValueError: if planes of `stack` are no planes of `working`.
    """
    axes = working.affine[:3, :3] / np.linalg.norm(working.affine[:3, :3], axis=0)
    cosines = np.abs(axes.T @ _frame(stack))
    across = int(np.argmax(cosines[:, 2]))
    row = max({0, 1, 2} - {across}, key=lambda axis: cosines[axis, 1])
    transform = index_transform(stack, working)[across, :2]
    if np.abs(transform) @ np.array(stack.shape[:2]) > 10 * TOLERANCE:
        raise ValueError("the planes of the two grids are not parallel; build one by working_grid")
    return across, row, 3 - across - row


def _frame(source: Grid) -> NDArray[np.float64]:
    """Orthonormal axes along columns, rows and the slice normal, in the directions of the source.

    Within the plane they are the nearest to the directions of the source (polar decomposition); the
    third is the normal even if the stack is tilted by rounding only, so that planes stay planes.
    """
    if not np.linalg.det(source.affine[:3, :3]):
        raise ValueError("the axes of the grid do not span space; check the orientation")
    unit = source.affine[:3, :3] / np.linalg.norm(source.affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(unit[:, :2], full_matrices=False)
    in_plane = left @ right
    normal = np.cross(in_plane[:, 0], in_plane[:, 1])
    normal *= np.sign(normal @ unit[:, 2])
    return np.column_stack([in_plane, normal])


def _steps(source: Grid, frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spacing in the plane and distance of the slices, in mm."""
    return np.array([*source.spacing[:2], frame[:, 2] @ source.affine[:3, 2]])


def _closest_axes(frame: NDArray[np.float64], orientation: str) -> tuple[Axes, NDArray[np.float64]]:
    """For each code, the source axis that serves it and its sign.

    The axis that leans least chooses first, which is how nibabel, and so MONAI's `Orientationd`, finds
    the closest canonical orientation.
    """
    free = np.abs(frame)
    source_axis = {}
    for axis in np.argsort(-free.max(axis=0), kind="stable").tolist():
        patient_axis = int(np.argmax(free[:, axis]))
        source_axis[patient_axis] = axis
        free[patient_axis] = -1
    patient_axes, directions = zip(*(CODE_DIRECTIONS[code] for code in orientation), strict=True)
    first, second, third = (source_axis[axis] for axis in patient_axes)
    order = (first, second, third)
    signs = np.where(frame[list(patient_axes), list(order)] < 0, -1.0, 1.0)
    return order, signs * directions


def _rearranged(source: Grid, order: Axes, signs: NDArray[np.float64]) -> Grid:
    """The same lattice, indexed along other axes."""
    shape = np.array(source.shape)[list(order)]
    affine = source.affine.copy()
    affine[:3, :3] = source.affine[:3, order] * signs
    affine[:3, 3] += source.affine[:3, order] @ np.where(signs < 0, shape - 1, 0)
    return Grid(_triple(shape), affine)


def _box_around(source: Grid, axes: NDArray[np.float64], steps: NDArray[np.float64]) -> Grid:
    """The orthogonal grid that covers all voxels of `source`, from edge to edge."""
    ends = [(-0.5, count - 0.5) for count in source.shape]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*ends)])
    along = corners @ source.affine[:3].T @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    shape = np.maximum(np.ceil((high - low) / steps - TOLERANCE), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    affine[:3, 3] = axes @ (low + steps / 2)
    return Grid(_triple(shape), affine)


def _triple(shape: NDArray[np.int_]) -> Axes:
    first, second, third = shape.tolist()
    return first, second, third
