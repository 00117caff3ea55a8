"""Cases to draw: patterns in patient space on any lattice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.model import Label, Model
from medsemi.prediction.outputs.planes import Scene, make_scene

COLORS = ((230, 60, 60), (60, 220, 80), (70, 120, 255))


def points(grid: Grid) -> np.ndarray:
    """Patient coordinates of all voxels, (column, row, slice, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def ball(grid: Grid, center: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(points(grid) - np.array(center), axis=-1) < radius


def a_case(grid: Grid | None, case_id: str = "c0123456789ab", **tags: str) -> Case:
    source = Source("dicom", "MR", Path("x"), "x", 1, tags=tags)
    return Case("key", case_id, "volume", (), "predict", (), source, grid)


def a_model(count: int = 3) -> Model:
    labels = tuple(
        Label(number, f"part {number}", color=COLORS[(number - 1) % 3])
        for number in range(1, count + 1)
    )
    return Model(Path(), "model", "1", "0" * 64, ("any",), labels)


def a_segmentation(
    labels: np.ndarray, agreement: Mapping[str, float | None] | None = None
) -> Segmentation:
    return Segmentation(labels, labels, agreement or {}, 0, {})


def a_volume(values: np.ndarray, unit: str = "") -> Volume:
    return Volume(values.astype(np.float32), unit, (), "")


def a_scene(grid: Grid, values: np.ndarray, labels: np.ndarray) -> Scene:
    return make_scene(a_case(grid), a_volume(values), a_segmentation(labels), a_model())


def near(picture: np.ndarray, color: tuple[int, int, int], most: int = 60) -> np.ndarray:
    """Where an RGB picture is about of a color."""
    return np.abs(picture.astype(int) - color).max(axis=-1) <= most
