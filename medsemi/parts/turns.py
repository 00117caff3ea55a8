"""Flips and quarter turns: drawn as plain data, applied and undone without interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the symmetries of a window that keep its shape.

    Attributes:
        flips: whether each axis is mirrored, after the quarter turns.
        quarters: number of quarter turns in the plane of the first two axes, 0 to 3.
    """

    flips: tuple[bool, ...]
    quarters: int = 0


def draw_turns(
    count: int,
    space: Sequence[int],
    generator: torch.Generator,
    *,
    square_voxels: bool = True,
) -> tuple[Turn, ...]:
    """Draw a turn per sample, uniformly.

    Quarter turns are in the plane of the first two axes, which in a stack of slices is the slice:
    the third may have other voxels. Where these two differ in length, or in the edges of their
    voxels, there are flips alone.

    Args:
        count: of samples.
        space: spatial shape of a window, in voxels.
        generator: where all numbers come from.
        square_voxels: whether voxels are as long as wide in that plane, see `Sub`.
    """
    quarters = 4 if square_voxels and space[0] == space[1] else 1
    flips = torch.randint(2, (count, len(space)), generator=generator).bool().tolist()
    turned = torch.randint(quarters, (count,), generator=generator).tolist()
    return tuple(Turn(tuple(f), q) for f, q in zip(flips, turned, strict=True))


def turn(values: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Turn each sample of `values`, shape (batch, *space) or (batch, channels, *space)."""
    return torch.stack([_turn(one, by) for one, by in zip(values, turns, strict=True)])


def turn_back(values: Tensor, turns: Sequence[Turn]) -> Tensor:
    """Undo `turn`."""
    return torch.stack([_turn_back(one, by) for one, by in zip(values, turns, strict=True)])


def _turn(values: Tensor, by: Turn) -> Tensor:
    axes = len(by.flips)
    turned = torch.rot90(values, by.quarters, [-axes, 1 - axes])
    return turned.flip([axis - axes for axis in range(axes) if by.flips[axis]])


def _turn_back(values: Tensor, by: Turn) -> Tensor:
    axes = len(by.flips)
    flipped = values.flip([axis - axes for axis in range(axes) if by.flips[axis]])
    return torch.rot90(flipped, -by.quarters, [-axes, 1 - axes])
