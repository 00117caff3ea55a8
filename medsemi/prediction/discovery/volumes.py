"""Volumes that share one series: told apart by what their headers say, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.header import Frame
from medsemi.prediction.discovery.stacks import Position

PARTS = "MPRI"
Key = Callable[[Frame], Any]


def _single(name: str) -> Key:
    return lambda frame: frame.keys.get(name)


def _part(frame: Frame) -> int | None:
    part = frame.keys.get("it")
    return None if part is None else PARTS.index(part)


def _echo_and_part(frame: Frame) -> tuple[float, int] | None:
    echo, part = frame.keys.get("echo"), _part(frame)
    return None if echo is None or part is None else (echo, part)


def _b_and_direction(frame: Frame) -> tuple[float, tuple[float, ...]] | None:
    b = frame.keys.get("b")
    return None if b is None else (b, frame.keys.get("direction", ()))


# In the order in which they are tried: the most meaningful first.
SPLITS: dict[str, Key] = {
    "echo": _single("echo"),
    "echo number": _single("echo_number"),
    "it": _part,
    "echo+it": _echo_and_part,
    "b": _single("b"),
    "b (private)": _single("b_private"),
    "b+direction": _b_and_direction,
    "tp": _single("tp"),
    "acq": _single("acq"),
    "trigger": _single("trigger"),
    "acq_time": _single("acq_time"),
    "content_time": _single("content_time"),
}
INSTANCE_ORDER = "instance_order"


@dataclass(frozen=True)
class Volume:
    """One of the volumes of a stack.

    Attributes:
        frames: one for each position, in order.
        value: of the key, as text; stable when another volume is added.
    """

    frames: tuple[Frame, ...]
    value: str


Split = tuple[str, list[Volume]]
"""Name of the key that tells volumes apart, and the volumes in its order."""


def split_volumes(stack: Sequence[Position]) -> Split | Finding:
    """Split a stack whose positions repeat.

    Args:
        stack: positions in order.

    Returns:
        The name of the key that tells the volumes apart, and the volumes in its order; or R05 or
        R06 if there is none.
    """
    count = max(len(position) for position in stack)
    short: list[int] = []
    for name, key in SPLITS.items():
        groups = _grouped(stack, key)
        if groups is None or len(groups) != count:
            continue
        if all(len(group) == len(stack) for group in groups.values()):
            return name, [Volume(tuple(groups[v]), str(v)) for v in sorted(groups)]
        short = short or [
            index for index, v in enumerate(sorted(groups), start=1) if len(groups[v]) < len(stack)
        ]
    absent = count * len(stack) - sum(len(position) for position in stack)
    if absent:
        where = (
            f"volume {short[0]} of {count}" if len(short) == 1 else f"a series of {count} volumes"
        )
        return Finding("R06", {"k": absent, "where": where})
    by_instance = _by_instance(stack)
    if by_instance is None:
        return Finding("R05", {"v": count})
    return INSTANCE_ORDER, by_instance


def _grouped(stack: Sequence[Position], key: Key) -> dict[Any, list[Frame]] | None:
    """Frames by key, in order of position; None unless each has one and none meets another."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for position in stack:
        values = [key(frame) for frame in position]
        if None in values or len(set(values)) != len(values):
            return None
        for value, frame in zip(values, position, strict=True):
            groups[value].append(frame)
    return groups


def _by_instance(stack: Sequence[Position]) -> list[Volume] | None:
    """Volumes by the rank of the instance number within each position."""
    ranked = []
    for position in stack:
        numbers = [frame.keys.get("instance") for frame in position]
        if None in numbers or len(set(numbers)) != len(numbers):
            return None
        ranked.append(sorted(position, key=lambda frame: frame.keys["instance"]))
    return [
        Volume(frames, str(rank)) for rank, frames in enumerate(zip(*ranked, strict=True), start=1)
    ]
