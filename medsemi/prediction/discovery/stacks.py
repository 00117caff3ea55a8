"""Which frames of a series belong to one stack, and in which order they lie.

Order comes from position along the normal alone: never from file names, instance numbers or slice
locations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from medsemi.prediction.discovery.header import Frame, Place

SAME_DIRECTION_DEGREES = 0.5
SAME_SPACING = 1e-3
SAME_POSITION_MM = 0.01
LOCALIZER_DEGREES = 60.0
# Rotating projections have a stack for each angle; an overview has a few.
MOST_STACKS = 1000

Position = tuple[Frame, ...]
"""Frames that lie at the same place of a stack."""


def split_stacks(frames: Sequence[Frame]) -> list[tuple[Position, ...]]:
    """Split frames into stacks of one frame of reference, matrix, pixel size and orientation.

    Args:
        frames: with places, in any order.

    Returns:
        The stacks, the one of most positions first; each with its positions in order along the
        normal.
    """
    alike: dict[tuple[str, tuple[int, int]], list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.order):
        alike[frame.frame_of_reference, frame.matrix].append(frame)
    stacks = [stack for group in alike.values() for stack in _parallel(group)]
    ordered = [positions(stack) for stack in stacks]
    return sorted(ordered, key=lambda stack: (-len(stack), stack[0][0].order))


def positions(stack: Sequence[Frame]) -> tuple[Position, ...]:
    """Order the frames of a stack along its normal and join those that lie at the same place."""
    normal = _place(min(stack, key=lambda frame: frame.order)).normal
    along = {id(frame): float(normal @ np.array(_place(frame).position)) for frame in stack}
    groups: list[list[Frame]] = []
    start = -np.inf
    for frame in sorted(stack, key=lambda frame: (along[id(frame)], frame.order)):
        if along[id(frame)] - start > SAME_POSITION_MM:
            start = along[id(frame)]
            groups.append([])
        groups[-1].append(frame)
    return tuple(tuple(sorted(group, key=lambda frame: frame.order)) for group in groups)


def are_overview(stacks: Sequence[Sequence[Position]]) -> bool:
    """Whether three stacks lie steeply to each other, as the planes of a localizer do."""
    normals = np.array([_place(stack[0][0]).normal for stack in stacks[:MOST_STACKS]])
    cosines = np.abs(normals @ normals.T)
    steep = (cosines < np.cos(np.radians(LOCALIZER_DEGREES))).astype(np.float32)
    # Two steps between stacks that are steep to each other close a triangle.
    return bool(((steep @ steep) * steep).any())


def _parallel(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of one pixel size and orientation, within tolerance of the first of their stack."""
    places = [_place(frame) for frame in frames]
    spacing = np.array([place.spacing for place in places])
    directions = np.array([place.orientation for place in places]).reshape(-1, 2, 3)
    # Distance of the tips of two unit vectors: exact for small angles too.
    limit = 2 * np.sin(np.radians(SAME_DIRECTION_DEGREES) / 2)
    left = np.arange(len(frames))
    stacks = []
    while left.size:
        first = left[0]
        as_wide = np.abs(spacing[left] - spacing[first]) <= SAME_SPACING * spacing[first]
        apart = np.linalg.norm(directions[left] - directions[first], axis=2)
        home = as_wide.all(axis=1) & (apart <= limit).all(axis=1)
        stacks.append([frames[index] for index in left[home]])
        left = left[~home]
    return stacks


def _place(frame: Frame) -> Place:
    assert frame.place is not None  # only placed frames are stacked
    return frame.place
