"""Overlay pictures: written whole, of the slice that shows most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medsemi.data.volumes import Volume
from medsemi.evaluation.overlay import draw_overlay


@pytest.mark.parametrize("shape", [(20, 16, 6), (20, 16)])
def test_outlines_are_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    label = np.zeros(shape, np.uint8)
    label[5:12, 5:12] = 1
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((1, *shape), np.float32))
    np.save(tmp_path / "label.npy", label)
    volume = Volume("one", tmp_path / "image.npy", tmp_path / "label.npy", np.eye(4))
    empty = np.zeros(shape, np.uint8)
    draw_overlay(tmp_path / "a.png", volume, {"student": label, "teacher": empty}, "one")
    draw_overlay(tmp_path / "b.png", volume, {"student": empty, "teacher": empty}, "one")
    first, second = (np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in "ab")
    assert first.shape == second.shape
    assert (first != second).any()
    yellow = np.abs(second.astype(int) - (240, 228, 66)).sum(-1) < 60
    assert yellow.any()
