"""A window as a grid of blocks, in 2D and 3D."""

from __future__ import annotations

import pytest
import torch

from medsemi.errors import ConfigError
from medsemi.parts.blocks import block_grid, block_means, blocks_to_voxels, gather_blocks


def test_means_by_hand() -> None:
    values = torch.arange(24.0).view(1, 4, 6)
    assert block_means(values, (2, 2)).tolist() == [[4.0, 7.0, 16.0, 19.0]]


@pytest.mark.parametrize(("space", "grid"), [((4, 6), (2, 3)), ((4, 6, 2), (2, 3, 1))])
def test_blocks_are_numbered_alike_everywhere(space, grid) -> None:
    count = torch.Size(grid).numel()
    numbers = torch.arange(float(count)).repeat(2, 1)
    voxels = blocks_to_voxels(numbers, grid, space)
    assert voxels.shape == (2, *space)
    assert torch.equal(block_means(voxels, grid), numbers)
    source = torch.stack([torch.arange(count).flip(0), torch.zeros(count, dtype=torch.long)])
    moved = gather_blocks(voxels.unsqueeze(1), source, grid)
    assert torch.equal(moved[:, 0], blocks_to_voxels(source.float(), grid, space))


@pytest.mark.parametrize("space", [(4, 6), (4, 6, 2)])
def test_the_inside_of_a_block_moves_as_it_is(space) -> None:
    grid = (2,) * len(space)
    values = torch.arange(float(3 * torch.Size(space).numel())).view(1, 3, *space)
    count = 2 ** len(space)
    assert torch.equal(gather_blocks(values, torch.arange(count)[None], grid), values)
    source = torch.arange(count)[None].clone()
    source[0, 0] = count - 1
    moved = gather_blocks(values, source, grid)
    first = tuple(slice(n // 2) for n in space)
    last = tuple(slice(n // 2, n) for n in space)
    assert torch.equal(moved[(..., *first)], values[(..., *last)])
    assert torch.equal(moved[(..., *last)], values[(..., *last)])
    assert not moved.isnan().any()


def test_one_number_serves_all_axes() -> None:
    assert block_grid((8, 12, 4), 4) == (4, 4, 4)
    assert block_grid((112, 112, 80), [7, 7, 5]) == (7, 7, 5)


@pytest.mark.parametrize(
    ("blocks", "named"),
    [(5, "take one of 1, 2, 3, 4, 6, 12"), (0, "take one of 1, 2"), ([2, 2, 2], "3 axes")],
)
def test_blocks_that_do_not_divide_the_window_are_refused(blocks, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        block_grid((12, 8), blocks)
