"""The working grid: orientation, spacing, extent, and what becomes of tilted stacks."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medsemi.prediction.case import Grid
from medsemi.prediction.geometry import (
    index_transform,
    matching_axes,
    orthogonal_grid,
    working_grid,
)

ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(["LR", "AP", "SI"])
    for codes in itertools.product(*axes)
]
lengths = st.floats(0.4, 6.0)
counts = st.integers(1, 9)
angles = st.floats(-180, 180)
orientations = st.sampled_from(ORIENTATIONS)


# By less than what counts as tilt: the slices are the third axis all the same.
SLIGHTLY_TILTED = Grid(
    (1, 1, 2), np.array([[1, 0, 0, 0], [0, 6, 4e-4, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
)


@st.composite
def grids(draw: st.DrawFn, shear: float = 0.0) -> Grid:
    """Grids of any direction, handedness and spacing; the third axis leans by up to `shear`."""
    rotation = Rotation.from_euler("xyz", [draw(angles) for _ in range(3)], degrees=True)
    axes = rotation.as_matrix() @ np.diag(draw(st.tuples(lengths, lengths, lengths)))
    axes = axes[:, draw(st.permutations(range(3)))]
    lean = st.floats(-shear, shear)
    axes[:, 2] += axes[:, 0] * draw(lean) + axes[:, 1] * draw(lean)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return Grid(draw(st.tuples(counts, counts, counts)), affine)


def voxel_corners(grid: Grid) -> NDArray[np.float64]:
    """(8, 3) indices of the corners of the outermost voxels."""
    return np.array(list(itertools.product(*[(-0.5, count - 0.5) for count in grid.shape])))


def mapped(transform: NDArray[np.float64], indices: NDArray[np.float64]) -> NDArray[np.float64]:
    return indices @ transform[:3, :3].T + transform[:3, 3]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(grids(), orientations)
def test_without_spacing_the_lattice_of_the_source_is_kept(source: Grid, orientation: str) -> None:
    working = working_grid(source, None, orientation)
    transform = index_transform(source, working)
    np.testing.assert_allclose(transform, np.rint(transform), atol=1e-9)
    ends = mapped(transform, np.array([[0, 0, 0], np.array(source.shape) - 1]))
    np.testing.assert_allclose(ends.min(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(ends.max(axis=0), np.array(working.shape) - 1, atol=1e-9)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(grids(), orientations)
def test_axes_are_chosen_as_nibabel_does(source: Grid, orientation: str) -> None:
    """MONAI's Orientationd, which networks are trained with, asks nibabel."""
    transform = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(source.affine_ras),
        nibabel.orientations.axcodes2ornt(orientation),
    )
    expected = source.affine_ras @ nibabel.orientations.inv_ornt_aff(transform, source.shape)
    working = working_grid(source, None, orientation)
    np.testing.assert_allclose(working.affine_ras, expected, atol=1e-9)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(grids(shear=0.6), st.tuples(lengths, lengths, lengths), orientations)
def test_the_working_grid_is_orthogonal_and_covers_the_source(
    source: Grid, spacing: tuple[float, float, float], orientation: str
) -> None:
    working = working_grid(source, spacing, orientation)
    axes = working.affine[:3, :3] / np.array(spacing)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    corners = mapped(index_transform(source, working), voxel_corners(source))
    limits = np.array(working.shape) - 0.5
    np.testing.assert_allclose(corners.min(axis=0), -0.5, atol=1e-6)
    assert (corners.max(axis=0) <= limits + 2e-3).all()
    assert (corners.max(axis=0) > limits - 1).all()  # no voxel that nobody needs
    normal = np.cross(source.affine[:3, 0], source.affine[:3, 1])
    cosines = np.abs(axes.T @ normal / np.linalg.norm(normal))
    np.testing.assert_allclose(np.sort(cosines), [0, 0, 1], atol=1e-6)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(grids(shear=0.4), st.tuples(*[st.booleans()] * 3), st.permutations(range(3)))
@example(SLIGHTLY_TILTED, (False, False, False), [0, 2, 1])
def test_how_an_image_is_stored_does_not_move_the_working_grid(
    source: Grid, flips: tuple[bool, bool, bool], order: list[int]
) -> None:
    if source.shear_degrees > 1e-6:  # of a tilted stack, the third axis is that of the slices
        order = [*(axis for axis in order if axis != 2), 2]
    affine = source.affine.copy()
    affine[:3, :3] = source.affine[:3, order]
    shape = tuple(source.shape[axis] for axis in order)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
            affine[:3, axis] *= -1
    stored = Grid((shape[0], shape[1], shape[2]), affine)
    one = working_grid(source, (1.5, 1.2, 2.0), "RAS")
    other = working_grid(stored, (1.5, 1.2, 2.0), "RAS")
    assert one.shape == other.shape
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-6)


def tilted() -> Grid:
    """The geometry of a head CT with 18.5 degrees of gantry tilt."""
    affine = np.eye(4)
    affine[:3, 0] = [0.9648, 0, 0]
    affine[:3, 1] = 0.9648 * np.array([0, 0.94832, -0.31730])
    affine[:3, 2] = [0, 0, 2.5]
    affine[:3, 3] = [-123.5, -15.641, 792.3452]
    return Grid((256, 256, 14), affine)


def test_a_tilted_stack_is_straightened_on_its_own_planes() -> None:
    source = tilted()
    straight = orthogonal_grid(source)
    assert straight.spacing == pytest.approx((0.9648, 0.9648, 2.3708), abs=1e-4)
    assert straight.shear_degrees == pytest.approx(0, abs=1e-6)
    assert straight.shape == (256, 256 + 12, 14)  # 14 slices of 0.7933 mm, in pixels of 0.9648 mm
    transform = index_transform(source, straight)
    np.testing.assert_allclose(transform[2], [0, 0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(np.diag(transform)[:2], 1, atol=1e-4)


def test_a_tilted_stack_keeps_its_true_slice_distance_where_no_spacing_is_asked_for() -> None:
    working = working_grid(tilted(), None, "RAS")
    assert working.spacing == pytest.approx((0.9648, 0.9648, 2.3708), abs=1e-4)
    assert nibabel.aff2axcodes(working.affine_ras) == ("R", "A", "S")
    assert working.shear_degrees == pytest.approx(0, abs=1e-6)


def test_rounded_orientations_need_no_interpolation_and_no_further_voxel() -> None:
    affine = np.eye(4)
    affine[:3, 2] = [0.001, 0, 1]  # 0.06 degrees
    source = Grid((40, 30, 20), affine)
    kept = index_transform(source, working_grid(source, None, "LPS"))
    np.testing.assert_allclose(kept, np.eye(4), atol=1e-9)
    affine = affine.copy()
    affine[:3, 2] = [1e-5, 0, 1]
    assert working_grid(Grid((40, 30, 20), affine), (1, 1, 1), "LPS").shape == (40, 30, 20)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(grids(shear=0.5), orientations)
def test_the_axes_of_the_stack_are_found_again(source: Grid, orientation: str) -> None:
    working = working_grid(source, (1.0, 1.0, 1.0), orientation)
    across, row, column = matching_axes(working, source)
    cosines = np.abs(working.affine[:3, :3].T @ source.affine[:3, :3]) / source.spacing
    normal = np.cross(source.affine[:3, 0], source.affine[:3, 1])
    assert abs(working.affine[:3, across] @ normal) == pytest.approx(np.linalg.norm(normal))
    assert cosines[row, 1] == pytest.approx(1)
    assert cosines[column, 0] == pytest.approx(1)


def test_grids_without_common_planes_are_refused() -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("x", 3, degrees=True).as_matrix()
    with pytest.raises(ValueError, match="not parallel"):
        matching_axes(Grid((20, 20, 20), turned), Grid((20, 20, 20), np.eye(4)))


def test_axes_that_span_no_space_are_refused() -> None:
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="do not span space"):
        working_grid(Grid((4, 4, 4), flat), None, "RAS")
