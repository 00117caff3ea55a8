"""preview.png: one picture from which a reader sees at once whether a result can be right."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.model import Label, Model
from medsemi.prediction.outputs.planes import Frame, Scene, draw_plane, font, make_scene
from medsemi.prediction.outputs.views import View

WIDTH = 1500
_PANEL = 490
_GAP = (WIDTH - 3 * _PANEL) // 4
_HEADER, _CAPTION, _LINE, _FOOTER = 64, 34, 30, 40
_GROUND, _INK, _FAINT = (18, 20, 24), (240, 240, 240), (170, 176, 184)


def draw_preview(
    path: Path, case: Case, volume: Volume, segmentation: Segmentation, model: Model
) -> None:
    """Draw a case, 1500 pixels wide.

    Above: three planes through the center of the largest structure, or of the volume if nothing
    was found. Below: the middle of each third of the stack. Case id, but no names and no dates.

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
    found = [label for label in model.labels if label.number in scene.extents]
    legend = _legend_rows(found)
    second = _HEADER + _CAPTION + _PANEL
    top_of_legend = second + _CAPTION + _PANEL + _GAP
    sheet = Image.new("RGB", (WIDTH, top_of_legend + _LINE * len(legend) + _FOOTER), _GROUND)
    _draw_header(sheet, case)
    _draw_row(sheet, scene, _HEADER, _through_largest(scene, found))
    _draw_row(sheet, scene, second, _thirds(scene))
    _draw_legend(sheet, legend, top_of_legend)
    _draw_footer(sheet, scene)
    sheet.save(path, compress_level=3)


Row = list[tuple[str, View, int]]


def _through_largest(scene: Scene, found: list[Label]) -> Row:
    """Captions and planes through the largest structure."""
    center = tuple(size // 2 for size in scene.labels.shape)
    what = "nothing was found; middle of the volume"
    if found:
        largest = max(found, key=lambda label: scene.extents[label.number].voxels)
        center, what = scene.extents[largest.number].center, f"through {largest.name}"
    return [
        (f"{view.name.capitalize()}, {what}", view, center[view.axis])
        for view in scene.views.values()
    ]


def _thirds(scene: Scene) -> Row:
    """The middle plane of each third of the stack."""
    view = next(view for view in scene.views.values() if view.axis == 2)
    count = scene.labels.shape[2]
    planes = [min(count - 1, count * part // 6) for part in (1, 3, 5)]
    return [(f"Slice {k + 1} of {count} ({view.name})", view, k) for k in planes]


def _draw_row(sheet: Image.Image, scene: Scene, top: int, row: Row) -> None:
    pen = ImageDraw.Draw(sheet)
    for place, (caption, view, index) in enumerate(row):
        left = _GAP + place * (_PANEL + _GAP)
        pen.text((left, top + _CAPTION / 2), _shorten(caption, _PANEL, 18), _INK, font(18), "lm")
        picture = draw_plane(scene, view, index, Frame((_PANEL, _PANEL)))
        sheet.paste(picture, (left, top + _CAPTION))


def _draw_header(sheet: Image.Image, case: Case) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _HEADER / 2), _shorten(case.case_id, 700, 26), _INK, font(26), "lm")
    pen.text(
        (WIDTH - _GAP, _HEADER / 2),
        "Research use only. Not a medical device.",
        _INK,
        font(22),
        "rm",
    )
    position = str(case.source.tags.get("patient_position", ""))
    if position:
        pen.text((WIDTH / 2, _HEADER / 2), f"Patient position {position}", _FAINT, font(18), "mm")


def _legend_rows(found: list[Label]) -> list[list[tuple[int, Label]]]:
    """Place the names of the structures: lines of (pixels from the left, label)."""
    rows: list[list[tuple[int, Label]]] = []
    left = WIDTH
    for label in found:
        needed = round(font(18).getlength(_shorten(label.name, 400, 18))) + 56
        if left + needed > WIDTH - _GAP:
            rows.append([])
            left = _GAP
        rows[-1].append((left, label))
        left += needed
    return rows


def _draw_legend(sheet: Image.Image, rows: list[list[tuple[int, Label]]], top: int) -> None:
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        middle = top + _LINE * number + _LINE // 2
        for left, label in row:
            pen.rectangle([left, middle - 8, left + 16, middle + 8], label.color, _FAINT)
            pen.text((left + 26, middle), _shorten(label.name, 400, 18), _INK, font(18), "lm")


def _draw_footer(sheet: Image.Image, scene: Scene) -> None:
    text = (
        "R right, L left, A front, P back, S head, I feet of the patient, from the image header."
        f"  {scene.window_text[0].upper()}{scene.window_text[1:]}."
    )
    ImageDraw.Draw(sheet).text((_GAP, sheet.height - _FOOTER / 2), text, _FAINT, font(16), "lm")


def _shorten(text: str, width: float, size: int) -> str:
    """Cut the text so that it fits into so many pixels."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
