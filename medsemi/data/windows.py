"""Windows of a volume: drawn here, cut there.

Turning, mirroring and cropping a window is array indexing; nothing is copied but the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLIP_RULES = ("published", "symmetric", "all", "none")
NEARLY_EQUAL = 1.05  # ratio of two spacings up to which a voxel passes for square


@dataclass(frozen=True, slots=True)
class WindowDraw:
    """The random decisions of one window.

    Attributes:
        turns: quarter turns in the plane of the first two spatial axes.
        flips: spatial axes that are mirrored, after the turn.
        corner: first voxel in the turned volume, per axis; negative where the window sticks out.
    """

    turns: int
    flips: tuple[int, ...]
    corner: tuple[int, ...]


def draw_window(
    shape: Sequence[int],
    window: Sequence[int],
    flip_rule: str,
    generator: np.random.Generator,
    center: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> WindowDraw:
    """Draw where and how a window is cut from a volume.

    Args:
        shape: spatial shape of the volume.
        window: spatial shape of the window, in voxels.
        flip_rule: `published` always mirrors one of the first two axes, so that only mirrored
            anatomy is seen; `symmetric` mirrors each of them with probability one half, `all` every
            axis (turns stay in the plane of the first two); `none` neither turns nor mirrors. Where
            the window or its voxels are not square in that plane, turns are half ones.
        generator: where all numbers come from.
        center: voxel of the volume that the middle of the window is put on, as far as the volume
            (or the padded one) allows; None draws the place.
        spacing: edge lengths of a voxel in mm; None takes voxels for square.

    Returns:
        The draw; drawn places are uniform over the volume, or over the padded one where any axis of it
        is no larger than the window (then every axis is padded with zeros).

    Source: BCP, `dataloaders/dataset.py` (RandomRotFlip, RandomCrop). Deviation: the last place of
    each axis is drawn too.
    """
    turns = 0 if flip_rule == "none" else int(generator.integers(4))
    if window[0] != window[1] or not (spacing is None or has_square_voxels(spacing)):
        turns -= turns % 2  # a quarter turn would bring axes of another length, or spacing, there
    flips = _draw_flips(flip_rule, len(shape), generator)
    space = (shape[1], shape[0], *shape[2:]) if turns % 2 else tuple(shape)
    padding = padding_before(space, window)
    limits = [n + pad - w for n, w, pad in zip(space, window, padding, strict=True)]
    if center is None:
        ranges = zip(padding, limits, strict=True)
        corner = tuple(int(generator.integers(last + pad + 1)) - pad for pad, last in ranges)
    else:
        moved = turned_voxel(center, shape, turns, flips)
        wished = [m - w // 2 for m, w in zip(moved, window, strict=True)]
        corner = tuple(
            min(max(wish, -pad), last)
            for wish, pad, last in zip(wished, padding, limits, strict=True)
        )
    return WindowDraw(turns, flips, corner)


def has_square_voxels(spacing: Sequence[float]) -> bool:
    """Whether a quarter turn in the plane of the first two axes keeps what is seen, within 5 %.

    Args:
        spacing: edge lengths of a voxel in mm.
    """
    return max(spacing[:2]) <= NEARLY_EQUAL * min(spacing[:2])


def turned_voxel(
    voxel: Sequence[int], shape: Sequence[int], turns: int, flips: Sequence[int]
) -> tuple[int, ...]:
    """Return where a voxel lies after the turns and mirrors of a window.

    Args:
        voxel: indices in the volume.
        shape: spatial shape of the volume.
        turns: quarter turns in the plane of the first two axes.
        flips: axes that are mirrored, after the turn.
    """
    place, space = list(voxel), list(shape)
    for _ in range(turns % 4):
        place[:2] = space[1] - 1 - place[1], place[0]
        space[:2] = space[1], space[0]
    for axis in flips:
        place[axis] = space[axis] - 1 - place[axis]
    return tuple(int(index) for index in place)


def foreground_counts(label: NDArray[np.uint8] | None) -> NDArray[np.int64]:
    """Count the foreground voxels of each plane across the first axis.

    Args:
        label: class indices, shape (*space); None for an unlabeled case, which has no planes.
    """
    planes = [] if label is None else [np.count_nonzero(plane) for plane in label]
    return np.array(planes, np.int64)


def draw_foreground(
    label: NDArray[np.uint8] | None,
    counts: NDArray[np.int64],
    probability: float,
    generator: np.random.Generator,
) -> tuple[int, ...] | None:
    """Draw the voxel that a window is centered on, or that the window may lie anywhere.

    One plane is read, so that nobody has to keep where the foreground of all volumes lies.

    Args:
        label: class indices, shape (*space).
        counts: from `foreground_counts`.
        probability: of a centered window; 0 draws nothing at all.
        generator: where all numbers come from.

    Returns:
        A voxel, every one of the foreground equally likely; None for a window anywhere, which a
        volume without foreground always gets.

    Source: nnU-Net oversamples foreground in a third of its windows; here the share is named.
    Deviation: nnU-Net draws a class that is there and then one of its voxels; here a small structure
    beside a large one is met as seldom as its share of the voxels says.
    """
    until = counts.cumsum()
    if probability == 0 or generator.random() >= probability or label is None or not counts.any():
        return None
    number = generator.integers(until[-1])
    plane = int(np.searchsorted(until, number, side="right"))
    index = np.flatnonzero(label[plane])[number - until[plane] + counts[plane]]
    return plane, *(int(i) for i in np.unravel_index(index, label.shape[1:]))


def _draw_flips(rule: str, axes: int, generator: np.random.Generator) -> tuple[int, ...]:
    if rule == "none":
        return ()
    if rule == "published":
        return (int(generator.integers(2)),)
    mirrored = range(axes if rule == "all" else 2)
    return tuple(axis for axis in mirrored if generator.random() < 0.5)


def padding_before(space: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """Return the zeros in front of (and behind) each axis; none where the window fits with room.

    Source: BCP, `dataloaders/dataset.py` (RandomCrop): floor of half of what lacks, plus 3, on
    every axis as soon as one axis is no larger than the window.
    """
    if all(n > w for n, w in zip(space, window, strict=True)):
        return (0,) * len(space)
    return tuple(max((w - n) // 2 + 3, 0) for n, w in zip(space, window, strict=True))


def cut_window(array: NDArray[Any], draw: WindowDraw, window: Sequence[int]) -> NDArray[Any]:
    """Cut one window; the array may have leading (channel) axes.

    Args:
        array: shape (..., *space); it may be memory-mapped, only the window is read.
        draw: from `draw_window`.
        window: spatial shape of the result.

    Returns:
        A new contiguous array of shape (..., *window); zero outside the volume.
    """
    lead = array.ndim - len(window)
    view = np.rot90(array, draw.turns, axes=(lead, lead + 1))
    view = np.flip(view, axis=tuple(lead + axis for axis in draw.flips))
    source, target = [slice(None)] * lead, [slice(None)] * lead
    for start, size, n in zip(draw.corner, window, view.shape[lead:], strict=True):
        low, high = max(start, 0), min(start + size, n)
        source.append(slice(low, max(high, low)))
        target.append(slice(low - start, max(high, low) - start))
    cut = np.zeros((*array.shape[:lead], *window), array.dtype)
    cut[tuple(target)] = view[tuple(source)]
    return cut
