"""Which way a plane is turned, from the affine alone."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medsemi.prediction.case import Grid
from medsemi.prediction.outputs.views import views_of

LETTERS = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}


def grid(axes: np.ndarray) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = axes
    return Grid((8, 8, 8), affine)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation_is_shown_in_the_convention_of_radiology(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    axes = np.eye(3)[:, list(order)] * signs
    found = {name: view.letters for name, view in views_of(grid(axes)).items()}
    assert found == LETTERS


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(-0.5, 0.5))
def test_three_different_families_whose_steps_are_true(seed: int, lean: float) -> None:
    axes = Rotation.random(rng=np.random.default_rng(seed)).as_matrix() * (0.7, 0.9, 3.0)
    axes[:, 2] += lean * axes[:, 1]
    views = views_of(grid(axes))
    assert sorted(view.axis for view in views.values()) == [0, 1, 2]
    for view in views.values():
        assert abs(view.right @ view.down) < 1e-9
        assert np.allclose([np.linalg.norm(view.right), np.linalg.norm(view.down)], 1)
        for column, axis in enumerate((view.horizontal, view.vertical)):
            step = view.steps[0, column] * view.right + view.steps[1, column] * view.down
            assert np.allclose(step, axes[:, axis])


def test_an_oblique_plane_has_two_letters() -> None:
    axes = Rotation.from_euler("x", 30, degrees=True).as_matrix()
    left, right, top, bottom = views_of(grid(axes))["axial"].letters
    assert (left, right) == ("R", "L")
    assert sorted(top) == ["A", "I"]
    assert sorted(bottom) == ["P", "S"]


def test_a_small_angle_has_one_letter() -> None:
    axes = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    assert views_of(grid(axes))["axial"].letters == ("R", "L", "A", "P")
