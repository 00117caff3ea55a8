"""Slices with fewer pixels: areas, means and classes are kept, nothing is enlarged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsemi.data.reducing import reduce_image, reduce_label, reduced_plane

SIDES = st.integers(1, 600)


def heart(plane: tuple[int, int]) -> np.ndarray:
    """One slice: a left ventricle (3) within a myocardium (2), beside it a right ventricle (1)."""
    y, x = np.indices(plane) + 0.5
    label = np.zeros(plane, np.uint8)
    label[((y - 42.3) / 28) ** 2 + ((x - 30.6) / 20) ** 2 < 1] = 1
    distance = np.hypot(y - 51.7, x - 63.2)
    label[distance < 25] = 2
    label[distance < 16] = 3
    return label[None]


@given(SIDES, SIDES, SIDES)
def test_the_longest_side_is_met_and_none_is_enlarged(y: int, x: int, longest: int) -> None:
    plane = reduced_plane((y, x), longest)
    assert max(plane) == min(longest, max(y, x))
    assert min(plane) >= 1
    assert plane[0] <= y
    assert plane[1] <= x
    assert plane == reduced_plane((x, y), longest)[::-1]
    factor = min(1, longest / max(y, x))
    assert plane[0] == pytest.approx(y * factor, abs=1 if y * factor < 0.5 else 0.5)


def test_planes_of_the_data() -> None:
    assert reduced_plane((224, 154), 128) == (128, 88)
    assert reduced_plane((174, 208), 128) == (107, 128)
    assert reduced_plane((96, 100), 128) == (96, 100)


def test_a_mean_by_hand() -> None:
    image = np.array([[[0, 3, 6]]], np.float32)  # the middle pixel is halved
    np.testing.assert_allclose(reduce_image(image, (1, 2)), [[[1, 5]]], rtol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_the_mean_is_kept_and_slices_are_not_mixed(factor: int) -> None:
    image = np.random.default_rng(0).random((3, 12 * factor, 7 * factor), np.float32)
    reduced = reduce_image(image, (12, 7))
    assert (reduced.shape, reduced.dtype) == ((3, 12, 7), np.float32)
    np.testing.assert_allclose(reduced.mean((1, 2)), image.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(reduced[0, 0, 0], image[0, :factor, :factor].mean(), rtol=1e-6)


def test_constants_stay() -> None:
    np.testing.assert_allclose(reduce_image(np.full((2, 50, 31), 0.3, np.float32), (27, 17)), 0.3)
    assert (reduce_label(np.full((2, 50, 31), 2, np.uint8), (27, 17)) == 2).all()


def test_the_same_plane_changes_nothing() -> None:
    label = heart((100, 96))
    image = np.random.default_rng(0).random(label.shape, np.float32)
    np.testing.assert_array_equal(reduce_image(image, (100, 96)), image)
    np.testing.assert_array_equal(reduce_label(label, (100, 96)), label)


@pytest.mark.parametrize("plane", [(50, 48), (57, 55), (40, 38)])
def test_areas_of_classes_are_kept(plane: tuple[int, int]) -> None:
    label = heart((100, 96))
    reduced = reduce_label(label, plane)
    assert (reduced.shape, reduced.dtype) == ((1, *plane), np.uint8)
    area = label.size / reduced.size
    counted = np.bincount(reduced.ravel()) * area
    np.testing.assert_allclose(counted, np.bincount(label.ravel()), rtol=0.03)


def test_ties_go_to_the_class_around_the_pixel() -> None:
    # Of the pixel in the middle, 2 x 2, both classes cover half; more of the first lies around it.
    label = np.zeros((1, 6, 6), np.uint8)
    label[0, 3:] = label[0, 2, [1, 4]] = 1
    assert reduce_label(label, (3, 3))[0, 1, 1] == 1
    assert reduce_label(1 - label, (3, 3))[0, 1, 1] == 0


@pytest.mark.parametrize("plane", [(50, 48), (57, 55)])
def test_both_axes_are_treated_alike(plane: tuple[int, int]) -> None:
    label = heart((100, 96))
    image = np.random.default_rng(0).random(label.shape, np.float32)
    turned = reduce_label(label.transpose(0, 2, 1), plane[::-1])
    np.testing.assert_array_equal(turned.transpose(0, 2, 1), reduce_label(label, plane))
    turned_image = reduce_image(image.transpose(0, 2, 1), plane[::-1]).transpose(0, 2, 1)
    np.testing.assert_allclose(turned_image, reduce_image(image, plane), rtol=1e-6)
