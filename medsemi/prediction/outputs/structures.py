"""structures.png: for each structure one row of three planes, the pictures of the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.model import Label, Model
from medsemi.prediction.outputs.extents import Extent
from medsemi.prediction.outputs.planes import (
    Frame,
    Scene,
    draw_plane,
    draw_text,
    make_scene,
    plane_bounds,
    plane_center,
)

PANEL, GAP = 240, 4
ROW_WIDTH = 3 * PANEL + 2 * GAP
# More rows would make neither the report nor its reader better.
MOST_ROWS = 12
# Key of the text in the PNG that says which structure each row shows.
ROWS_KEY = "medsemi.structures"
# What is shown around a structure: a multiple of its size, and at least this part of the volume.
_AROUND, _LEAST_FIELD = 1.6, 0.4


def draw_structures(
    path: Path, case: Case, volume: Volume, segmentation: Segmentation, model: Model
) -> None:
    """Draw one row of three planes (axial, coronal, sagittal) through each structure.

    At most `MOST_ROWS` structures are shown: those with the lowest agreement, then the largest.
    Where nothing was found, one row shows the middle of the volume. The PNG says in a text of key
    `ROWS_KEY` what its rows show: JSON, a list of objects with `number` (0: nothing was found),
    `name` and `color`.

    Args:
        path: the PNG file.
        case: with its grid.
        volume: its voxels.
        segmentation: its labels.
        model: names and colors of the labels.

    Raises:
        ValueError: the case has no grid.
    """
    scene = make_scene(case, volume, segmentation, model)
    shown = _shown(scene, segmentation, model)
    sheet = Image.new("RGB", (ROW_WIDTH, (PANEL + GAP) * max(1, len(shown)) - GAP))
    for row, label in enumerate(shown or [None]):
        _draw_row(sheet, scene, row * (PANEL + GAP), label)
    told = PngInfo()
    told.add_text(ROWS_KEY, json.dumps([_entry(label) for label in shown] or [_entry(None)]))
    # All colors: a palette is a sixth smaller, but mixes the outlines of three structures and more.
    sheet.save(path, format="PNG", pnginfo=told, compress_level=6)


def _shown(scene: Scene, segmentation: Segmentation, model: Model) -> list[Label]:
    def rank(label: Label) -> tuple[float, int]:
        agreement = segmentation.agreement.get(label.name)
        return 1.0 if agreement is None else agreement, -scene.extents[label.number].voxels

    found = [label for label in model.labels if label.number in scene.extents]
    chosen = sorted(found, key=rank)[:MOST_ROWS]
    return [label for label in found if label in chosen]


def _entry(label: Label | None) -> dict[str, object]:
    if label is None:
        return {"number": 0, "name": "", "color": [0, 0, 0]}
    return {"number": label.number, "name": label.name, "color": list(label.color)}


def _draw_row(sheet: Image.Image, scene: Scene, top: int, label: Label | None) -> None:
    middle = tuple(size // 2 for size in scene.labels.shape)
    extent = scene.extents[label.number] if label else None
    for place, view in enumerate(scene.views.values()):
        index = (extent.center if extent else middle)[view.axis]
        picture = draw_plane(scene, view, index, _frame(scene, view.name, extent))
        if place == 0:
            draw_text(picture, (5, 4), label.name[:14] if label else "nothing found", 13)
        sheet.paste(picture, (place * (PANEL + GAP), top))


def _frame(scene: Scene, name: str, extent: Extent | None) -> Frame:
    """The structure with what lies around it, at one scale on the three planes of its row."""
    if extent is None:
        return Frame((PANEL, PANEL))
    sizes, whole = [], []
    for view in scene.views.values():
        low, high = plane_bounds(scene, view)
        whole.append(float((high - low).max()))
        corners = np.array([plane_center(view, extent.first), plane_center(view, extent.last)])
        sizes.append(float(np.abs(corners[1] - corners[0]).max()))
    field = min(max(_AROUND * max(sizes), _LEAST_FIELD * max(whole)), max(whole))
    i, j, k = ((a + b) / 2 for a, b in zip(extent.first, extent.last, strict=True))
    return Frame((PANEL, PANEL), plane_center(scene.views[name], (i, j, k)), field)
