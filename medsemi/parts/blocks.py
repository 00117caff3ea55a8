"""A window as a regular grid of blocks, numbered in C order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medsemi.errors import ConfigError


def block_grid(space: Sequence[int], blocks: int | Sequence[int]) -> tuple[int, ...]:
    """Return the number of blocks per axis of a window of shape `space`.

    Args:
        space: voxels per axis.
        blocks: blocks per axis, one number for all or one for each.

    Raises:
        ConfigError: if the blocks do not divide the window.
    """
    grid = (blocks,) * len(space) if isinstance(blocks, int) else tuple(blocks)
    if len(grid) != len(space):
        raise ConfigError(
            f"blocks names {len(grid)} axes, and the window has {len(space)}; give one number"
            " for all axes or one for each."
        )
    for axis, (n, count) in enumerate(zip(space, grid, strict=True)):
        if count < 1 or n % count:
            valid = ", ".join(str(c) for c in range(1, n + 1) if n % c == 0)
            raise ConfigError(
                f"blocks is {count} along axis {axis}, which does not divide the {n} voxels of"
                f" the window; take one of {valid}."
            )
    return grid


def block_means(values: Tensor, grid: Sequence[int]) -> Tensor:
    """Average over each block: (batch, *space) -> (batch, blocks)."""
    edges = [n // count for n, count in zip(values.shape[1:], grid, strict=True)]
    pool = functional.avg_pool2d if len(grid) == 2 else functional.avg_pool3d
    return pool(values.unsqueeze(1), edges).flatten(1)


def blocks_to_voxels(values: Tensor, grid: Sequence[int], space: Sequence[int]) -> Tensor:
    """Give each voxel the value of its block: (batch, blocks) -> (batch, *space)."""
    result = values.view(-1, *grid)
    for axis, (n, count) in enumerate(zip(space, grid, strict=True), start=1):
        result = result.repeat_interleave(n // count, axis)
    return result


def gather_blocks(values: Tensor, source: Tensor, grid: Sequence[int]) -> Tensor:
    """Fill each block with the content of another one.

    Args:
        values: shape (batch, channels, *space).
        source: for each block the number of the block that it is filled from, shape
            (batch, blocks), int64.
        grid: blocks per axis.
    """
    axes = len(grid)
    edges = [n // count for n, count in zip(values.shape[2:], grid, strict=True)]
    interleaved = [n for pair in zip(grid, edges, strict=True) for n in pair]
    # (batch, channels, blocks and voxels of each axis) -> (batch, blocks of all axes, the rest)
    order = [0, *range(2, 2 * axes + 2, 2), 1, *range(3, 2 * axes + 2, 2)]
    split = values.reshape(*values.shape[:2], *interleaved).permute(order)
    rows = torch.arange(len(values), device=values.device).unsqueeze(1)
    filled = split.flatten(1, axes)[rows, source].view(split.shape)
    back = [order.index(axis) for axis in range(2 * axes + 2)]
    return filled.permute(back).reshape(values.shape)
