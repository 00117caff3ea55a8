"""Make the pictures of the methods: the data flow of a step, with real images of phantoms.

python scripts/make_method_pictures.py docs/pictures/methods
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from diagram import ANSWER, BORDER, LIKELY, PSEUDO, TRUE, UNLIKELY, Diagram, Node
from method_diagrams import DIAGRAMS, NODES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image
    from tile_pixels import Pixels

Sign = Literal[">", "-", "~"]
Point = tuple[float, float]
Color = tuple[int, int, int]

# Lengths in inches; tiles are whole multiples of their pixels, so that they stay sharp and small.
DPI = 150
CELL = (1.62, 1.36)
TILE = 0.96
BOX = (0.92, 0.56)
LOSS_WIDTH = 1.22
INSET = 0.08  # of the end of an edge from a corner
APART = 0.15  # between the ends of two edges
MARGIN, LEGEND = 0.1, 0.34
COLORS = {
    "student": ("#dbe9fb", "#2b6cb0"),
    "teacher": ("#ffe9cf", "#c05621"),
    "loss": ("#fde2e2", "#b83232"),
}
INK, PALE, AVERAGE = "#2d3748", "#8390a3", "#c05621"
LABELS = {"true label": TRUE, "pseudo-label": PSEUDO, "answer": ANSWER}
SIGNS: Mapping[Sign, str] = {">": "with gradient", "-": "without gradient", "~": "moving average"}


@dataclass(frozen=True)
class Place:
    """Where a node is: its middle, half of its size, and the cells it fills.

    Attributes:
        x: inches from the left.
        y: inches from the top.
        half: half of width and height.
        column: from 0.
        node: what stands there.
    """

    x: float
    y: float
    half: Point
    column: int
    node: Node

    @property
    def foot(self) -> float:
        """Where it ends below, with its caption."""
        lines = 0.13 * len(self.node.text.splitlines()) if self.node.kind == "tile" else 0.0
        return self.y + self.half[1] + lines


@dataclass(frozen=True)
class Edge:
    """From a node to another; see `method_diagrams` for the signs."""

    source: str
    sign: Sign
    target: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Write <method>.png for each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures are written")
    parser.add_argument("--only", choices=DIAGRAMS, help="one method")
    parser.add_argument(
        "--steps", type=int, default=30, help="training of the networks that answer (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from method_tiles import make_scene, tiles_of

    options.folder.mkdir(parents=True, exist_ok=True)
    scene = make_scene(options.steps)
    for name in [options.only] if options.only else DIAGRAMS:
        drawn = picture(DIAGRAMS[name], tiles_of(name, scene))
        (options.folder / f"{name}.png").write_bytes(drawn)
    return 0


def edges_of(diagram: Diagram) -> list[Edge]:
    """The edges of all chains."""
    found = []
    for chain in diagram.edges:
        words = chain.split()
        for source, sign, target in zip(words[::2], words[1::2], words[2::2], strict=False):
            found.append(Edge(source, next(known for known in SIGNS if known == sign), target))
    return found


def node_of(diagram: Diagram, name: str) -> Node:
    """The node of that name, in the words of the diagram."""
    if name in diagram.texts:
        return Node("tile", diagram.texts[name])
    return diagram.boxes.get(name) or NODES[name]


def places_of(diagram: Diagram) -> dict[str, Place]:
    """Where each node of the grid stands."""
    cells: dict[str, list[tuple[int, int]]] = {}
    for row, line in enumerate(diagram.grid):
        for column, name in enumerate(line.split()):
            cells.setdefault(name, []).append((column, row))
    cells.pop(".", None)
    return {name: place_of(node_of(diagram, name), taken) for name, taken in cells.items()}


def place_of(node: Node, cells: Sequence[tuple[int, int]]) -> Place:
    """The place of a node in the middle of its cells; boxes are as tall as these."""
    columns, rows = zip(*cells, strict=True)
    assert len(set(columns)) == 1, f"{node.text}: a node stays in its column"
    middle = (min(rows) + max(rows)) / 2
    half = (TILE / 2, TILE / 2)
    if node.kind != "tile":
        width = LOSS_WIDTH if node.kind == "loss" else BOX[0]
        least = 0.16 * len(node.text.splitlines()) + 0.16
        tall = (max(rows) - min(rows)) * CELL[1] if node.kind != "loss" else 0.0
        spread = min(0.5 * (max(rows) - min(rows)) * CELL[1], 1.2) if node.kind == "loss" else tall
        half = (width / 2, max(BOX[1], least) / 2 + spread / 2)
    x, y = (columns[0] + 0.5) * CELL[0], middle * CELL[1] + TILE / 2 + MARGIN
    return Place(x + MARGIN, y, half, columns[0], node)


def ends_of(edges: Sequence[Edge], places: Mapping[str, Place]) -> dict[tuple[Edge, str], float]:
    """The height at which each level edge leaves its source and meets its target."""
    heights: dict[tuple[Edge, str], float] = {}
    for name, place in places.items():
        for side in ("source", "target"):
            here = [e for e in edges if getattr(e, side) == name and not upright(e, places)]
            other = "target" if side == "source" else "source"
            ends = {e: places[getattr(e, other)] for e in here}
            wanted = {e: wanted_height(place, end) for e, end in ends.items()}
            ordered = sorted(here, key=lambda e: (wanted[e], ends[e].y, ends[e].column))
            reach = place.half[1] - INSET
            for edge, height in zip(
                ordered, spread([wanted[e] for e in ordered], place.y, reach), strict=True
            ):
                heights[edge, side] = height
    return heights


def wanted_height(place: Place, other: Place) -> float:
    """Where an edge to the other node would be level: a tall node follows a small one."""
    if other.half[1] < place.half[1]:
        return other.y
    return near(place.y, other.y, other.half[1] - INSET)


def near(value: float, middle: float, reach: float) -> float:
    """The value, or the nearest one that is within reach of the middle."""
    return min(max(value, middle - reach), middle + reach)


def spread(wanted: Sequence[float], middle: float, reach: float) -> list[float]:
    """Heights near the wanted ones, within `reach` of the middle, and apart from each other."""
    apart = min(APART, 2 * reach / max(len(wanted) - 1, 1))
    heights = [near(w, middle, reach) for w in wanted]
    for _ in range(50):
        for i in range(1, len(heights)):
            lack = apart - (heights[i] - heights[i - 1])
            if lack > 1e-6:
                heights[i - 1] -= lack / 2
                heights[i] += lack / 2
        heights = [near(h, middle, reach) for h in heights]
    return heights


def upright(edge: Edge, places: Mapping[str, Place]) -> bool:
    """Whether both ends stand in one column."""
    return places[edge.source].column == places[edge.target].column


def path_of(
    edge: Edge, places: Mapping[str, Place], ends: Mapping[tuple[Edge, str], float]
) -> list[Point]:
    """Points of an edge: a curve in the gap beside its source, then level to the target.

    Where something stands in the way, level first, and the curve in the gap beside the target.
    """
    source, target = places[edge.source], places[edge.target]
    if upright(edge, places):
        if source.y < target.y:
            return [(source.x, source.foot + 0.03), (target.x, target.y - target.half[1])]
        return [(source.x, source.y - source.half[1]), (target.x, target.foot + 0.03)]
    start = (source.x + source.half[0], ends[edge, "source"])
    end = (target.x - target.half[0], ends[edge, "target"])
    between = [p for p in places.values() if source.column < p.column < target.column]
    if any(start[0] < p.x and p.y - p.half[1] < end[1] < p.foot for p in between):
        first = max(target.x - CELL[0] + TILE / 2 + 0.04, start[0] + 0.05)
        bend = (first + end[0] - 0.1) / 2
        last = (end[0] - 0.1, end[1])
        return [start, (first, start[1]), (bend, start[1]), (bend, end[1]), last, end]
    # The gap ends where a tile of the next column would begin.
    turn = min(source.x + CELL[0] - TILE / 2 - 0.04, end[0] - 0.1)
    bend = (start[0] + turn) / 2
    return [start, start, (bend, start[1]), (bend, end[1]), (turn, end[1]), end]


def picture(diagram: Diagram, tiles: Mapping[str, Pixels]) -> bytes:
    """The diagram as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    places, edges = places_of(diagram), edges_of(diagram)
    tiles = {name: pixels for name, pixels in tiles.items() if name in places}
    width = max(len(line.split()) for line in diagram.grid) * CELL[0] + 2 * MARGIN
    # The legend needs more than the narrowest diagrams have.
    width = max(width, 6.4)
    content = max(place.foot for place in places.values()) + MARGIN
    height = content + LEGEND + (0.2 if diagram.note else 0.0)
    figure = Figure((round(width * DPI) / DPI, round(height * DPI) / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    ends = ends_of(edges, places)
    for edge in edges:
        draw_edge(axes, edge.sign, path_of(edge, places, ends))
    for name, place in places.items():
        draw_node(axes, place, tiles.get(name))
    draw_legend(axes, content + 0.12, legend(edges, tiles))
    if diagram.note:
        axes.text(MARGIN, content + 0.38, diagram.note, fontsize=7.5, color=INK, va="center")
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as drawn:
        with_palette(drawn.convert("RGB")).save(small, format="png", optimize=True)
    return small.getvalue()


def draw_node(axes: Axes, place: Place, pixels: Pixels | None) -> None:
    """Draw a tile with its caption, or a box."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    left, top = place.x - place.half[0], place.y - place.half[1]
    width, height = 2 * place.half[0], 2 * place.half[1]
    if place.node.kind == "tile":
        assert pixels is not None, f"no image for {place.node.text}"
        # Slices have x first and y up; pixels have rows first and down.
        upright_pixels = pixels.transpose(1, 0, 2)[::-1]
        axes.imshow(
            upright_pixels, extent=(left, left + width, top + height, top), interpolation="nearest",
            aspect="auto", zorder=3,
        )  # fmt: skip
        axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=INK, lw=0.6, zorder=4))
        axes.text(
            place.x, top + height + 0.03, place.node.text, fontsize=7.5, ha="center", va="top",
            color=INK, linespacing=1.05, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
        )  # fmt: skip
        return
    face, border = COLORS[place.node.kind]
    style = f"round,pad=0,rounding_size={0.22 if place.node.kind == 'loss' else 0.08}"
    axes.add_patch(
        FancyBboxPatch((left, top), width, height, boxstyle=style, fc=face, ec=border, zorder=3)
    )
    size = 7.5 if place.node.kind == "loss" else 9
    axes.text(
        place.x, place.y, place.node.text, fontsize=size, ha="center", va="center", color=border,
        zorder=4, linespacing=1.15,
    )  # fmt: skip


def draw_edge(axes: Axes, sign: Sign, points: Sequence[Point]) -> None:
    """Draw an edge: full where a gradient flows, dashed where none does, dotted for an average."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    codes = [Outline.MOVETO, Outline.LINETO]
    if len(points) > 2:
        codes = [Outline.MOVETO, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.LINETO]
    color = {">": INK, "-": PALE, "~": AVERAGE}[sign]
    line = {">": "-", "-": (0, (4, 2)), "~": (0, (1, 1.2))}[sign]
    arrow = FancyArrowPatch(
        path=Outline(points, codes), arrowstyle="-|>", mutation_scale=9, color=color, lw=1.2,
        ls=line, zorder=2, shrinkA=0, shrinkB=0,
    )  # fmt: skip
    axes.add_patch(arrow)


def draw_legend(axes: Axes, y: float, entries: Sequence[tuple[str, Sign | Color]]) -> None:
    """Say what the lines and outlines mean, from left to right."""
    x = MARGIN
    for text, mark in entries:
        if isinstance(mark, str):
            draw_edge(axes, mark, [(x, y), (x + 0.36, y)])
        else:
            shade = tuple(value / 255 for value in mark)
            axes.plot([x + 0.14, x + 0.36], [y, y], color=shade, lw=3, solid_capstyle="butt")
        axes.text(x + 0.41, y, text, fontsize=6.8, va="center", color=INK)
        x += 0.52 + 0.064 * len(text)


def legend(edges: Sequence[Edge], tiles: Mapping[str, Pixels]) -> list[tuple[str, Sign | Color]]:
    """What of lines and colors is in the picture."""
    signs = [(text, sign) for sign, text in SIGNS.items() if sign in {e.sign for e in edges}]
    seen = [
        (text, color)
        for text, color in LABELS.items()
        if any((pixels == color).all(-1).any() for pixels in tiles.values())
    ]
    return [*signs, *seen]


def with_palette(image: Image.Image) -> Image.Image:
    """The image with the nearest colors of the palette, so that its file is small."""
    import numpy as np
    from PIL import Image

    colors = np.array(palette(), dtype=np.float64)
    found, places = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True)
    distance = np.square(found[:, None].astype(np.float64) - colors).sum(-1)
    indices = distance.argmin(1).astype(np.uint8)[places]
    reduced = Image.fromarray(indices.reshape(image.height, image.width), mode="P")
    reduced.putpalette([int(value) for color in colors for value in color])
    return reduced


def palette() -> list[tuple[int, ...]]:
    """Grays, the blues of probabilities, and each other color with its way to white; at most 256."""
    from matplotlib.colors import to_rgb

    flat = [to_rgb(color) for pair in COLORS.values() for color in pair]
    flat += [to_rgb(color) for color in (INK, PALE)]
    flat += [(r / 255, g / 255, b / 255) for r, g, b in (*LABELS.values(), BORDER)]
    grays = [(round(255 * k / 63),) * 3 for k in range(64)]
    blues = [
        tuple(round(a + (b - a) * k / 47) for a, b in zip(UNLIKELY, LIKELY, strict=True))
        for k in range(48)
    ]
    others = [
        tuple(round(255 * (1 - (1 - value) * share)) for value in color)
        for color in flat
        for share in (1, 0.85, 0.7, 0.5, 0.3, 0.15)
    ]
    return [*grays, *blues, *others]


if __name__ == "__main__":
    sys.exit(main())
