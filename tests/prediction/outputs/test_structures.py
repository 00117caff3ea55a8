"""structures.png: a row for each structure, and words that say which."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from medsemi.prediction.case import Grid
from medsemi.prediction.outputs.structures import (
    GAP,
    MOST_ROWS,
    PANEL,
    ROW_WIDTH,
    ROWS_KEY,
    draw_structures,
)

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("drawable.py"))))
GRID = Grid((48, 48, 24), np.diag([1.0, 1.0, 2.0, 1.0]))


def drawn(
    path: Path, labels: np.ndarray, count: int = 3, agreement: dict[str, float | None] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    values = np.random.default_rng(0).random(GRID.shape)
    draw_structures(
        path,
        DRAW.a_case(GRID),
        DRAW.a_volume(values),
        DRAW.a_segmentation(labels, agreement),
        DRAW.a_model(count),
    )
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        rows = json.loads(picture.text[ROWS_KEY])
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[:2] == ((PANEL + GAP) * len(rows) - GAP, ROW_WIDTH)
    return pixels, rows


def test_every_structure_is_outlined_on_its_three_planes(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[DRAW.ball(GRID, (14, 14, 12), 6)] = 1
    labels[DRAW.ball(GRID, (34, 34, 34), 5)] = 3
    pixels, rows = drawn(tmp_path / "structures.png", labels)
    assert [(row["number"], row["name"]) for row in rows] == [(1, "part 1"), (3, "part 3")]
    for place, row in enumerate(rows):
        top = place * (PANEL + GAP)
        for column in range(3):
            left = column * (PANEL + GAP)
            panel = pixels[top : top + PANEL, left : left + PANEL]
            assert DRAW.near(panel, tuple(row["color"]), 70).sum() > 60


def test_the_outlines_of_many_structures_have_the_colors_that_the_report_names(
    tmp_path: Path,
) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    for number in range(1, 4):
        labels[12 * number : 12 * number + 8, 10:20, 4:10] = number
    pixels, rows = drawn(tmp_path / "structures.png", labels)
    assert len(rows) == 3
    for place, row in enumerate(rows):
        panel = pixels[place * (PANEL + GAP) :][:PANEL, :PANEL]
        assert DRAW.near(panel, tuple(row["color"]), 12).sum() > 20


def test_of_many_structures_those_of_lowest_agreement_and_the_largest_are_shown(
    tmp_path: Path,
) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    for number in range(1, 21):  # the higher the number, the larger
        labels[2 * number : 2 * number + 2, : 10 + number, :4] = number
    agreement: dict[str, float | None] = {"part 1": 0.2, "part 2": None, "part 5": 0.7}
    _, rows = drawn(tmp_path / "structures.png", labels, 20, agreement)
    assert len(rows) == MOST_ROWS
    assert [row["number"] for row in rows] == [1, 5, *range(11, 21)]


def test_nothing_found_is_one_row_of_the_middle(tmp_path: Path) -> None:
    pixels, rows = drawn(tmp_path / "structures.png", np.zeros(GRID.shape, np.uint8))
    assert rows == [{"number": 0, "name": "", "color": [0, 0, 0]}]
    assert pixels.std() > 10


def test_a_small_structure_is_shown_enlarged_with_its_surroundings(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[40:43, 40:43, 18:20] = 1
    pixels, _ = drawn(tmp_path / "structures.png", labels)
    rows, columns = np.nonzero(DRAW.near(pixels[:PANEL, :PANEL], DRAW.COLORS[0], 70))
    # Three of 48 mm are 15 pixels of the whole plane; the field is 40 % of it.
    assert 30 < np.ptp(rows) < 55
    assert 30 < np.ptp(columns) < 55
