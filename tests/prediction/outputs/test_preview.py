"""preview.png: what is on it, and what must not be."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medsemi.prediction.case import Grid
from medsemi.prediction.outputs.preview import draw_preview

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("drawable.py"))))
GRID = Grid((40, 36, 18), np.diag([1.0, 1.0, 3.0, 1.0]))


def drawn(path: Path, labels: np.ndarray, count: int = 3, **tags: str) -> np.ndarray:
    values = np.random.default_rng(0).random(GRID.shape)
    case = DRAW.a_case(GRID, **tags)
    draw_preview(
        path, case, DRAW.a_volume(values), DRAW.a_segmentation(labels), DRAW.a_model(count)
    )
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert not getattr(picture, "text", {})
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def labels() -> np.ndarray:
    found = DRAW.ball(GRID, (20, 18, 26), 12).astype(np.uint8)
    found[DRAW.ball(GRID, (20, 18, 26), 5)] = 2
    return found


def test_six_planes_side_by_side_1500_pixels_wide(tmp_path: Path, labels: np.ndarray) -> None:
    picture = drawn(tmp_path / "preview.png", labels)
    assert picture.shape[1] == 1500
    for column in range(3):
        part = picture[:560, 500 * column : 500 * (column + 1)]
        assert DRAW.near(part, DRAW.COLORS[0]).sum() > 300
    # The middle third of the stack holds the structure, the others hardly.
    below = [
        DRAW.near(picture[620:1100, 500 * c : 500 * (c + 1)], DRAW.COLORS[1]).sum()
        for c in range(3)
    ]
    assert below[1] > 300 > max(below[0], below[2])


def test_nothing_found_is_drawn_too(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "preview.png", np.zeros(GRID.shape, np.uint8))
    assert not any(DRAW.near(picture, color, 30).any() for color in DRAW.COLORS)


def test_only_the_position_of_the_patient_is_taken_from_the_header(
    tmp_path: Path, labels: np.ndarray
) -> None:
    plain = drawn(tmp_path / "a.png", labels)
    private = {"series_uid": "1.2.3", "series_description": "DOE^JANE", "manufacturer": "X"}
    assert (drawn(tmp_path / "b.png", labels, **private) == plain).all()
    assert (drawn(tmp_path / "c.png", labels, patient_position="HFP") != plain).any()


def test_many_structures_make_the_legend_longer(tmp_path: Path) -> None:
    labels = (np.arange(np.prod(GRID.shape)) % 60).reshape(GRID.shape).astype(np.uint8)
    few = drawn(tmp_path / "few.png", np.minimum(labels, 2), 60)
    many = drawn(tmp_path / "many.png", labels, 60)
    assert many.shape[0] > few.shape[0]
    assert many.shape[1] == 1500


def test_equal_cases_give_equal_files(tmp_path: Path, labels: np.ndarray) -> None:
    drawn(tmp_path / "a.png", labels)
    drawn(tmp_path / "b.png", labels)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
