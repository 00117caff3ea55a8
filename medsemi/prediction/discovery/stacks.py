"""Which frames of a series belong to one stack, and in which order they lie.

Order comes from position along the normal alone: never from file names, instance numbers or slice
locations.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from medsemi.prediction.discovery.header import Frame, Place, Vector

SAME_DIRECTION_DEGREES = 0.5
SAME_SPACING = 1e-3
SAME_POSITION_MM = 0.01
LOCALIZER_DEGREES = 60.0

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
    stacks: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda frame: frame.order):
        home = next((stack for stack in stacks if _same_stack(stack[0], frame)), None)
        if home is None:
            stacks.append([frame])
        else:
            home.append(frame)
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
    normals = np.array([_place(stack[0][0]).normal for stack in stacks])
    steep = np.abs(normals @ normals.T) < np.cos(np.radians(LOCALIZER_DEGREES))
    return any(
        steep[a, b] and steep[a, c] and steep[b, c] for a, b, c in combinations(_distinct(steep), 3)
    )


def _distinct(steep: np.ndarray) -> list[int]:
    """One stack of each set that are steep to the same others: keeps the number of triples small."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(steep):
        first.setdefault(row.tobytes(), index)
    return list(first.values())


def _same_stack(first: Frame, frame: Frame) -> bool:
    if (first.frame_of_reference, first.matrix) != (frame.frame_of_reference, frame.matrix):
        return False
    a, b = _place(first), _place(frame)
    if any(abs(x - y) > SAME_SPACING * x for x, y in zip(a.spacing, b.spacing, strict=True)):
        return False
    return all(
        _angle(x, y) <= SAME_DIRECTION_DEGREES
        for x, y in (
            (a.orientation[:3], b.orientation[:3]),
            (a.orientation[3:], b.orientation[3:]),
        )
    )


def _angle(a: Vector, b: Vector) -> float:
    """Between unit vectors, in degrees; exact for small angles too."""
    difference = float(np.linalg.norm(np.subtract(a, b)))
    return float(np.degrees(2 * np.arcsin(min(difference / 2, 1.0))))


def _place(frame: Frame) -> Place:
    assert frame.place is not None  # only placed frames are stacked
    return frame.place
