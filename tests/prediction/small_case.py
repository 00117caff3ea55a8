"""A case of smooth shells of brightness, without files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume

SHAPE = (30, 26, 22)
AFFINE = np.array(
    [[1.0, 0.0, 0.0, -20.0], [0.0, 1.2, 0.0, 5.0], [0.0, 0.0, 1.5, 40.0], [0.0, 0.0, 0.0, 1.0]]
)


def make_case(grid: Grid, **settings: Any) -> Case:
    source = Source("nifti", "CT", Path("a.nii"), "a.nii", 1, tags=settings.pop("tags", {}))
    known = {"key": "a", "case_id": "a", "category": "volume", "flags": (), "outcome": "predict"}
    return Case(**{**known, "findings": (), "source": source, "grid": grid, **settings})


def make_volume(values: np.ndarray[Any, Any]) -> Volume:
    return Volume(np.asfortranarray(values.astype(np.float32)), "HU", (), "0" * 64)


def distances(grid: Grid) -> np.ndarray[Any, Any]:
    """Distance in mm of each voxel from the middle of a grid."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    places = index @ grid.affine[:3, :3].T
    return np.linalg.norm(places - places.reshape(-1, 3).mean(axis=0), axis=-1)


def shells(grid: Grid, classes: int = 2) -> np.ndarray[Any, Any]:
    """Brightness that grows smoothly from 0 outside to classes − 1 in the middle."""
    radius = distances(grid).max() / 2
    noise = np.random.default_rng(1).normal(0, 0.05, grid.shape)
    return np.clip((classes - 1) * 1.5 * (1 - distances(grid) / radius), 0, classes - 1) + noise


def codes(segmentation: Segmentation) -> list[str]:
    return [finding.code for finding in segmentation.findings]
