"""What a diagram of a method consists of; `method_diagrams` says how its grid and edges are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["tile", "student", "teacher", "loss"]

# What is drawn into tiles; palette and legend look for these very values.
TRUE, PSEUDO, ANSWER = (64, 200, 110), (255, 140, 30), (90, 170, 255)
BORDER = (250, 225, 70)  # of a box
UNLIKELY, LIKELY = (247, 250, 255), (8, 48, 107)  # ends of the scale of probabilities


@dataclass(frozen=True)
class Node:
    """A box, or a tile: an image with a caption.

    Attributes:
        kind: what it is drawn as.
        text: in the box or below the tile; lines are divided by a line feed.
    """

    kind: Kind
    text: str


@dataclass(frozen=True)
class Diagram:
    """The data flow of a step of one method.

    Attributes:
        grid: rows of names, divided by blanks.
        edges: chains of names and signs.
        texts: name -> text of tiles that only this method has, or that it calls otherwise.
        boxes: name -> box that only this method has.
        note: below the picture.
    """

    grid: tuple[str, ...]
    edges: tuple[str, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    boxes: Mapping[str, Node] = field(default_factory=dict)
    note: str = ""
