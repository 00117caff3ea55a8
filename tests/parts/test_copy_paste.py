"""Boxes against the published masks, and their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medsemi.errors import ConfigError
from medsemi.parts.copy_paste import (
    Box,
    box_size,
    draw_box,
    draw_boxes,
    mix,
    outside_mask,
    outside_masks,
)
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


def test_a_box_larger_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="hole_ratio is 3; give 0 to 1"):
        box_size((8, 8), 3)


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


@pytest.mark.parametrize("space", [(64, 48), (32, 24, 20)])
def test_boxes_have_the_share_of_the_window_that_was_asked_for(space: tuple[int, ...]) -> None:
    boxes = draw_boxes(400, space, torch.Generator().manual_seed(1))
    masks = outside_masks(boxes, space, torch.device("cpu"))
    assert masks.shape == (400, 1, *space)
    shares = 1.0 - masks.float().flatten(1).mean(1)
    drawn = shares[shares > 0]
    assert len(drawn) / 400 == pytest.approx(0.5, abs=0.08)
    assert drawn.min() > 0.005
    assert drawn.max() < 0.45
    assert drawn.mean().item() == pytest.approx(0.21, abs=0.03)
    edges = torch.tensor([box.size for box in boxes if box.size[0]]) / torch.tensor(space)
    assert (edges.amax(1) / edges.amin(1)).max() < 4.2  # 3.33, and rounding of small edges


def test_boxes_sit_anywhere_in_the_window_and_reach_both_ends() -> None:
    space = (12, 10, 8)
    boxes = draw_boxes(600, space, torch.Generator().manual_seed(1), probability=1.0)
    corners = torch.tensor([box.corner for box in boxes])
    room = torch.tensor(space) - torch.tensor([box.size for box in boxes])
    assert ((corners >= 0) & (corners <= room)).all()
    for axis in range(3):
        places = (corners[:, axis] / room[:, axis])[room[:, axis] > 0]
        assert places.mean().item() == pytest.approx(0.5, abs=0.06)
        assert {0.0, 1.0} < set(places.tolist())


def test_no_box_and_all_of_the_window() -> None:
    none, whole = Box((0, 0), (0, 0)), Box((0, 0), (4, 5))
    masks = outside_masks([none, whole], (4, 5), torch.device("cpu"))
    one, other = torch.randn(2, 1, 4, 5), torch.randn(2, 1, 4, 5)
    mixed = mix(one, other, masks)
    assert torch.equal(mixed[0], one[0])
    assert torch.equal(mixed[1], other[1])
