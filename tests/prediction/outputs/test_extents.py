"""Where structures lie, against counting voxel by voxel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medsemi.prediction.model import Label
from medsemi.prediction.outputs.extents import label_extents

STRUCTURES = (Label(1, "a"), Label(2, "b"), Label(3, "c"))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 4)))
def test_extents_are_those_of_the_voxels(labels: np.ndarray) -> None:
    extents = label_extents(np.asfortranarray(labels), STRUCTURES)
    assert set(extents) == set(np.unique(labels).tolist()) & {1, 2, 3}
    for number, extent in extents.items():
        where = np.argwhere(labels == number)
        assert extent.voxels == len(where)
        assert extent.first == tuple(where.min(axis=0))
        assert extent.last == tuple(where.max(axis=0))
        for axis, index in enumerate(extent.center):
            assert (where[:, axis] == index).any()


def test_the_center_of_one_piece_is_its_centroid() -> None:
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:7, 1:4, 5:8] = 300
    assert label_extents(labels, (Label(300, "box"),))[300].center == (4, 2, 6)


def test_a_structure_in_two_parts_is_shown_where_it_is() -> None:
    labels = np.zeros((20, 8, 8), np.uint8)
    labels[1:3, 2:5, 2:5] = 1
    labels[16:19, 2:6, 2:5] = 1
    column = label_extents(labels, STRUCTURES)[1].center[0]
    assert column in (16, 17, 18)
