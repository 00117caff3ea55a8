"""Make the picture of CFC-Net's data flow: real views of a phantom, and where each of them goes.

python scripts/make_cfcnet_picture.py docs/pictures
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray
from scipy import ndimage

from medsemi.data.root_canal_phantom import make_root_canal_phantom
from medsemi.parts.blocks import block_means, blocks_to_voxels
from medsemi.parts.uncertainty import most_uncertain
from medsemi.parts.views import FrequencyViews

Slice = NDArray[np.float32]
WINDOW, BLOCKS, SHARE = 48, 6, 0.1
LOW, HIGH, TEACHER, TARGET = "#1b6ca8", "#c1440e", "#3c7a3c", "#555555"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write cfcnet.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the picture is written")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    draw_flow(panels(), options.folder / "cfcnet.png")
    return 0


def panels(index: int = 3, spacing: float = 0.3, size: int = 60) -> dict[str, Slice]:
    """Return slices of one phantom: the window, its views, exchanged blocks, both views with them.

    Which blocks are exchanged needs trained networks; here those are taken in which most edges of
    the label lie, as uncertain networks are at edges.

    Args:
        index: number of the phantom.
        spacing: edge of a voxel in mm.
        size: voxels of the phantom along each axis.
    """
    phantom = make_root_canal_phantom(index, shape=(size,) * 3, spacing=(spacing,) * 3)
    start = (size - WINDOW) // 2
    cut = (slice(start, start + WINDOW),) * 3
    image = torch.from_numpy(phantom.image[cut].astype(np.float32))[None, None]
    label = phantom.label[cut] > 0
    views = FrequencyViews()
    low, high = views.apply(image, views.fixed(1, 3))
    edges = torch.from_numpy(label ^ ndimage.binary_erosion(label)).float()[None]
    grid = (BLOCKS,) * 3
    scores = block_means(edges, grid)
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen.scatter_(1, most_uncertain(scores, round(SHARE * scores.shape[1])), True)
    taken = blocks_to_voxels(chosen, grid, image.shape[2:])
    along = int(np.argmax(label.sum(axis=(0, 2))))
    volumes = {
        "window": image,
        "low": low,
        "high": high,
        "taken": taken.float(),
        "mixed low": torch.where(taken.unsqueeze(1), high, low),
        "mixed high": torch.where(taken.unsqueeze(1), low, high),
    }
    return {name: v.reshape((WINDOW,) * 3)[:, along].T.numpy() for name, v in volumes.items()}


def draw_flow(shown: dict[str, Slice], path: Path) -> None:
    """Draw the flow of one unlabeled window from left to right.

    Args:
        shown: what `panels` returned.
        path: PNG file.
    """
    figure = Figure(figsize=(13.0, 7.0), dpi=100, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    page.set_xlim(0, 13)
    page.set_ylim(0, 7)
    places = {
        "low": (2.9, 5.0, "low view of u", LOW),
        "window": (0.35, 2.65, "unlabeled window u", TARGET),
        "high": (2.9, 0.3, "high view of u", HIGH),
        "mixed low": (8.9, 5.0, "low view, blocks exchanged", LOW),
        "mixed high": (8.9, 0.3, "high view, blocks exchanged", HIGH),
    }
    for name, (x, y, title, color) in places.items():
        tile(figure, shown[name], (x, y), title, color, shown["taken"] if "mixed" in name else None)
    box(page, (5.3, 5.35), "student of the\nlow view", LOW)
    box(page, (5.3, 3.1), "teacher: moving average\nof both students", TEACHER)
    box(page, (5.3, 0.65), "student of the\nhigh view", HIGH)
    box(
        page,
        (11.15, 3.1),
        "the students again:\nthe label is the same,\nno block has moved",
        TARGET,
        1.6,
    )
    arrows(page)
    figure.savefig(path)


def tile(
    figure: Figure,
    values: Slice,
    corner: tuple[float, float],
    title: str,
    color: str,
    blocks: Slice | None,
) -> None:
    """Show one slice in a colored frame, with the outline of exchanged blocks where there are any."""
    axes = figure.add_axes((corner[0] / 13, corner[1] / 7, 1.65 / 13, 1.65 / 7))
    low, high = np.percentile(values, (1, 99.5))
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
    if blocks is not None:
        axes.contour(blocks, [0.5], colors="#ffd23f", linewidths=1.2)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(color)
        side.set_linewidth(2.5)
    axes.set_title(title, fontsize=10, color=color, pad=4)


def box(page: Axes, corner: tuple[float, float], text: str, color: str, width: float = 2.0) -> None:
    """Draw a network as a box; a corner is its lower left one."""
    style = {"boxstyle": "round,pad=0.45", "fc": "white", "ec": color, "lw": 2.0}
    x, y = corner[0] + width / 2, corner[1] + 0.4
    page.text(x, y, text, ha="center", va="center", fontsize=11, color=color, bbox=style)


def arrows(page: Axes) -> None:
    """Draw what goes where, and which loss is between whom."""
    flows = [
        ((2.05, 4.0), (2.85, 5.4), TARGET),
        ((2.05, 3.48), (5.0, 3.48), TARGET),
        ((2.05, 2.9), (2.85, 1.5), TARGET),
        ((4.6, 5.82), (5.4, 5.82), LOW),
        ((4.6, 1.12), (5.4, 1.12), HIGH),
        ((7.2, 5.82), (8.85, 5.82), LOW),
        ((7.2, 1.12), (8.85, 1.12), HIGH),
        ((10.6, 5.4), (11.7, 4.2), LOW),
        ((10.6, 1.5), (11.7, 2.8), HIGH),
    ]
    for start, end, color in flows:
        arrow(page, start, end, color, "-|>", "solid")
    arrow(page, (5.75, 5.25), (5.75, 1.7), TARGET, "<|-|>", "dashed", 0.55)
    arrow(page, (7.65, 3.48), (10.95, 3.48), TEACHER, "-|>", "dashed")
    arrow(page, (6.45, 4.05), (6.45, 5.2), TEACHER, "-|>", "dashed")
    arrow(page, (6.45, 2.95), (6.45, 1.7), TEACHER, "-|>", "dashed")
    words = [
        (4.05, 4.25, "cross: each learns\nthe other's labels", TARGET),
        (7.5, 4.6, "full: both learn\nthe teacher's labels", TEACHER),
        (8.05, 6.25, "where either is\nuncertain: exchange", TARGET),
        (9.4, 3.72, "target of the mix", TEACHER),
    ]
    for x, y, text, color in words:
        page.text(x, y, text, fontsize=9.5, color=color, ha="center", va="center", style="italic")


def arrow(
    page: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    head: str,
    line: str,
    bend: float = 0.0,
) -> None:
    """Draw one arrow; data flow is solid, a pseudo-label is dashed."""
    page.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=head,
            mutation_scale=14,
            color=color,
            linestyle=line,
            linewidth=1.6,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
