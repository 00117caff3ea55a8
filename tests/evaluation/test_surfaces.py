"""Surface Dice and volume error: known values, empty structures, anisotropic voxels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsemi.evaluation.surfaces import surface_dice, volume_error

EMPTY = np.zeros((12, 12, 12), bool)


def box(first: int, edge: int = 4) -> np.ndarray:
    mask = EMPTY.copy()
    mask[first : first + edge, 3:7, 3:7] = True
    return mask


@pytest.mark.parametrize("edge_mm", [0.9, 1.0, 1.9, 2.0])
def test_a_shift_within_the_tolerance_does_not_count(edge_mm: float) -> None:
    assert surface_dice(box(3), box(4), (edge_mm, 1.0, 1.0)) == {"surface_dice_2mm": 1.0}


def test_part_of_a_surface_beyond_the_tolerance_counts() -> None:
    share = surface_dice(box(3), box(4), (2.5, 1.0, 1.0))["surface_dice_2mm"]
    assert 0 < share < 1


def test_a_shift_beyond_the_tolerance_counts_by_its_millimetres() -> None:
    # Two single voxels, two steps apart.
    one, other = EMPTY.copy(), EMPTY.copy()
    one[3, 3, 3] = other[5, 3, 3] = True
    assert surface_dice(one, other, (1.0, 1.0, 1.0)) == {"surface_dice_2mm": 1.0}
    assert surface_dice(one, other, (1.1, 1.0, 1.0)) == {"surface_dice_2mm": 0.0}
    flat = (one[:, :, 3], other[:, :, 3])
    assert surface_dice(*flat, (1.1, 1.0)) == {"surface_dice_2mm": 0.0}


def test_empty_structures_have_a_rule() -> None:
    assert surface_dice(EMPTY, EMPTY, (1, 1, 1)) == {"surface_dice_2mm": 1.0}
    for pair in ((EMPTY, box(3)), (box(3), EMPTY)):
        assert surface_dice(*pair, (1, 1, 1)) == {"surface_dice_2mm": 0.0}
    assert math.isnan(volume_error(box(3), EMPTY, (1, 1, 1))["volume_error_share"])


@given(st.integers(1, 4), st.integers(1, 4), st.tuples(*[st.floats(0.2, 4)] * 3))
def test_the_volume_error_is_in_millilitres(
    ours: int, theirs: int, spacing: tuple[float, ...]
) -> None:
    found = volume_error(box(3, ours), box(3, theirs), spacing)
    ml = 16 * (ours - theirs) * math.prod(spacing) / 1000
    assert found["volume_error_ml"] == pytest.approx(ml)
    assert found["volume_error_share"] == pytest.approx(abs(ours - theirs) / theirs)
