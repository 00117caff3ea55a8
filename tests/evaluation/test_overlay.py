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


def drawn(folder: Path, label: np.ndarray, networks: dict[str, np.ndarray]) -> np.ndarray:
    np.save(folder / "image.npy", np.zeros((1, *label.shape), np.float32))
    np.save(folder / "label.npy", label)
    volume = Volume("one", folder / "image.npy", folder / "label.npy", np.eye(4))
    draw_overlay(folder / "picture.png", volume, networks, "one")
    return np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype(int)


def test_every_network_has_its_panel(tmp_path: Path) -> None:
    label = np.zeros((20, 16), np.uint8)
    label[5:12, 5:12] = 1
    empty = np.zeros_like(label)
    names = ("student_a", "student_b", "teacher_a", "teacher_b")
    first = drawn(tmp_path, label, dict.fromkeys((*names, "teachers"), empty))
    second = drawn(tmp_path, label, {**dict.fromkeys(names, empty), "teachers": label})
    last = slice(first.shape[1] * 4 // 5, None)
    assert (first[:, last] != second[:, last]).any()
    assert (first[:, last] < 50).all(-1).sum() > 1000  # the image, which is black


def test_exchanged_classes_look_exchanged(tmp_path: Path) -> None:
    label = np.zeros((40, 32), np.uint8)
    label[5:15, 5:25], label[22:35, 5:25] = 1, 2
    empty = np.zeros_like(label)
    right = drawn(tmp_path, empty, {"student": label})
    wrong = drawn(tmp_path, empty, {"student": (3 - label) * (label > 0)})
    assert right.shape == wrong.shape
    assert (right != wrong).any()
