"""A sphere in patient space goes through the working grid and comes back, for all sample sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medsemi.prediction.case import Grid
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.geometry import working_grid
from medsemi.prediction.options import Options
from medsemi.prediction.resampling import labels_on

STEP = 1.5  # mm, of the working grid
SMALLEST = 15.0  # mm; thinner stacks hold no sphere worth comparing
# On these coarse lattices a shell of voxel centers lies so near to the sphere that the error of linear
# interpolation (below 0.07 mm) decides them: 15 of 360 voxels, 16 of 36, 24 of 1092.
DICE = {"ct_tilt_siemens": 0.97, "mr_two_echo_siemens": 0.71, "mr_time_series_ge": 0.985}


@pytest.fixture(scope="module")
def stacks(shared: Path) -> dict[str, tuple[Grid, float]]:
    """Grid and smallest extent in mm of the cases that are predicted and thick enough."""
    found = {}
    for folder in sorted((shared / "data" / "dicom").glob("[cm][tr]_*")):
        for case in discover([folder], Options(workers=1)).cases:
            if case.outcome == "predict" and case.grid is not None:
                grid = case.grid
                distance = grid.voxel_mm3 / np.prod(grid.spacing[:2])
                extent = float(np.min(np.array(grid.shape) * [*grid.spacing[:2], distance]))
                if extent >= SMALLEST:
                    found[f"{folder.name} {grid.shape}"] = grid, extent
    return found


def distance(grid: Grid, center: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each voxel center from a point, in mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    places = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.linalg.norm(places - center, axis=-1)


def middle(grid: Grid) -> NDArray[np.float64]:
    return grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]


def sphere_through_working_grid(source: Grid, radius: float) -> NDArray[np.bool_]:
    working = working_grid(source, (STEP, STEP, STEP), "RAS")
    inside = torch.from_numpy(radius - distance(working, middle(source))).float()
    return labels_on(torch.stack([torch.zeros_like(inside), inside]), working, source) == 1


def test_a_sphere_comes_back(stacks: dict[str, tuple[Grid, float]]) -> None:
    assert len(stacks) >= 15
    assert DICE.keys() <= {name.split()[0] for name in stacks}
    for name, (source, extent) in stacks.items():
        radius = 0.35 * extent
        found = sphere_through_working_grid(source, radius)
        depth = distance(source, middle(source)) - radius
        true = depth < 0
        dice = 2 * (found & true).sum() / (found.sum() + true.sum())
        assert dice >= DICE.get(name.split()[0], 0.99), name
        # What linear interpolation of a distance may err by: its second derivatives add to 2 / r.
        nearest = radius - STEP * np.sqrt(3)
        assert np.abs(depth[found != true]).max(initial=0) <= STEP**2 / 8 * 2 / nearest, name


def test_the_volume_of_a_sphere_in_a_tilted_stack(stacks: dict[str, tuple[Grid, float]]) -> None:
    source, _ = stacks["ct_tilt_philips (256, 256, 14)"]
    assert source.shear_degrees == pytest.approx(18.5, abs=0.05)
    voxels = sphere_through_working_grid(source, 12.0).sum()
    assert voxels * source.voxel_mm3 == pytest.approx(7238, rel=0.02)
    assert voxels * np.prod(source.spacing) > 1.04 * 7238  # what ignores the tilt is told apart
