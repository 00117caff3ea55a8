"""Boxes against the published masks, and their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medsemi.parts.copy_paste import Box, box_size, draw_box, mix, outside_mask
from medsemi.seeds import derive_generator

CPU = torch.device("cpu")


def test_the_edge_follows_the_published_rule(golden: Path) -> None:
    table = np.load(golden / "context_mask.npz")["hole_size_by_image_size"]
    for size, edge in table.tolist():
        assert box_size((size,), 2 / 3) == (edge,)


@pytest.mark.parametrize(
    ("key", "space"),
    [("la", (112, 112, 80)), ("acdc", (256, 256)), ("pancreas", (96, 96, 96))],
)
def test_published_boxes_are_among_ours(golden: Path, key: str, space: tuple[int, ...]) -> None:
    boxes = np.load(golden / "context_mask.npz")[f"{key}_boxes_seed_0_199"]
    axes = len(space)
    size = box_size(space, 2 / 3)
    for row in boxes:
        assert tuple(row[axes:] - row[:axes]) == size
        mask = outside_mask(Box(tuple(row[:axes].tolist()), size), space, CPU)
        assert (~mask).sum() == np.prod(size)
    places = np.array([draw_box(space, 2 / 3, derive_generator(i)).corner for i in range(400)])
    assert (places >= 0).all()
    assert (places.max(0) <= np.array(space) - size).all()
    # The published code never draws the last place; ours must reach it.
    assert places.max(0)[0] == space[0] - size[0]


def test_the_box_is_where_it_says() -> None:
    mask = outside_mask(Box((2, 3, 4), (8, 8, 8)), (16, 16, 16), CPU)
    assert not mask[2:10, 3:11, 4:12].any()
    assert mask.sum() == 16**3 - 8**3


@given(seed=st.integers(0, 2**31), space=st.lists(st.integers(4, 20), min_size=2, max_size=3))
def test_every_voxel_comes_from_exactly_one_side(seed: int, space: list[int]) -> None:
    box = draw_box(space, 2 / 3, derive_generator(seed))
    mask = outside_mask(box, space, CPU)
    mixed = mix(torch.zeros(2, 1, *space), torch.ones(2, 1, *space), mask)
    assert mixed[0].sum() == np.prod(box.size)
    assert torch.equal(mixed[0, 0] == 0, mask)


def test_mixing_extremes() -> None:
    """Property 8: all outside gives the one, none gives the other."""
    a, b = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    everywhere = torch.ones(4, 4, dtype=torch.bool)
    assert torch.equal(mix(a, b, everywhere), a)
    assert torch.equal(mix(a, b, ~everywhere), b)
