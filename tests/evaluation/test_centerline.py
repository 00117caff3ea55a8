"""clDice on tubes whose answer is known, and where it is blind."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from medsemi.evaluation.centerline import centerline_dice, cubic, skeleton

TUBES = runpy.run_path(str(Path(__file__).with_name("tubes.py")))
tube = TUBES["tube"]
CUBES = (0.25, 0.25, 0.25)
TRUTH = tube(3)


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    return 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())


def test_identical_tubes() -> None:
    assert centerline_dice(TRUTH, TRUTH, CUBES) == 1.0


def test_a_gap_costs_little() -> None:
    broken = TRUTH.copy()
    broken[:, :, 24:27] = False
    # Nothing is invented, and 3 voxels of the skeleton lie in the gap.
    length = skeleton(TRUTH).sum()
    sensitivity = (length - 3) / length
    expected = 2 * sensitivity / (1 + sensitivity)
    assert centerline_dice(broken, TRUTH, CUBES) == pytest.approx(expected)
    assert 0.93 < expected < 0.95


@pytest.mark.parametrize("radius", [1, 5])
def test_it_is_blind_to_width(radius: int) -> None:
    other = tube(radius)
    assert dice(other, TRUTH) < 0.6
    assert centerline_dice(other, TRUTH, CUBES) == 1.0


def test_it_is_blind_to_a_shift_by_the_radius() -> None:
    shifted = tube(3, center=(23, 20))
    assert dice(shifted, TRUTH) < 0.5
    assert centerline_dice(shifted, TRUTH, CUBES) == 1.0
    assert centerline_dice(tube(3, center=(24, 20)), TRUTH, CUBES) == 0.0


def test_an_invented_tube_halves_the_precision() -> None:
    both = TRUTH | tube(3, center=(32, 20))
    assert centerline_dice(both, TRUTH, CUBES) == pytest.approx(2 / 3)
    assert centerline_dice(TRUTH, both, CUBES) == pytest.approx(2 / 3)


def test_empty_sides() -> None:
    empty = np.zeros_like(TRUTH)
    assert centerline_dice(empty, empty, CUBES) == 1.0
    assert centerline_dice(empty, TRUTH, CUBES) == 0.0
    assert centerline_dice(TRUTH, empty, CUBES) == 0.0


def test_a_blob_has_a_skeleton() -> None:
    cube = np.zeros((20, 20, 20), bool)
    cube[3:15, 3:15, 3:15] = True
    thin = skeleton(cube)
    assert thin.any()
    assert not (thin & ~cube).any()
    assert centerline_dice(cube, cube, CUBES) == 1.0


@pytest.mark.parametrize(("radius", "length"), [(1, 30), (2, 30), (3, 28), (5, 24), (8, 20)])
def test_ends_of_a_skeleton_are_short(radius: int, length: int) -> None:
    assert skeleton(tube(radius)).sum() == pytest.approx(length, abs=2)


def test_two_dimensions() -> None:
    line = np.zeros((20, 30), bool)
    line[8:11, 3:27] = True
    assert centerline_dice(line, line, (0.3, 0.3)) == 1.0
    assert centerline_dice(np.roll(line, 5, axis=0), line, (0.3, 0.3)) == 0.0


def test_long_voxels_are_cut_into_cubes() -> None:
    coarse = TRUTH[:, :, ::2]
    (fine,), grid = cubic([coarse], (0.25, 0.25, 0.5))
    assert grid.edge == 0.25
    assert fine.sum() == TRUTH.sum()
    inner = np.argwhere(fine)
    places = grid.millimetres(inner)
    expected = np.argwhere(coarse).mean(axis=0) * (0.25, 0.25, 0.5)
    np.testing.assert_allclose(places.mean(axis=0), expected, atol=1e-9)
    broken = coarse.copy()
    broken[:, :, 12:14] = False
    assert 0.9 < centerline_dice(broken, coarse, (0.25, 0.25, 0.5)) < 0.95
