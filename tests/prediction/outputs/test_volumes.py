"""Volumes against what can be counted voxel by voxel."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.model import Label, Model
from medsemi.prediction.outputs.volumes import (
    COLUMNS,
    measure_structures,
    volume_findings,
    write_volumes_csv,
    write_volumes_json,
)


def case_on(grid: Grid, slice_index: tuple[float, ...] = ()) -> Case:
    source = Source("nifti", "", Path("x"), "x", 1)
    return Case("k", "c1", "volume", (), "predict", (), source, grid, slice_index)


def model_of(count: int) -> Model:
    labels = tuple(Label(n, f"part {n}") for n in range(1, count + 1))
    return Model(Path("m"), "m", "1", "0" * 64, ("any",), labels)


def measured(
    labels: np.ndarray, values: np.ndarray, affine: np.ndarray, count: int = 3
) -> list[dict[str, object]]:
    grid = Grid(labels.shape, affine)
    volume = Volume(np.asfortranarray(values), "HU", (), "")
    rows = measure_structures(case_on(grid), volume, labels, model_of(count))
    return [{name: getattr(row, name) for name in COLUMNS} for row in rows]


AFFINES = st.sampled_from(
    [
        np.diag([0.7, 0.8, 2.5, 1.0]),
        np.diag([-0.7, 0.8, -2.5, 1.0]),
        np.array([[0.9, 0, 0, 5], [0, 0.9, 0.8, 6], [0, 0, 2.4, 7], [0, 0, 0, 1]]),  # sheared
        np.array([[0, 0, 2.0, 1], [1.5, 0, 0, 2], [0, -1.2, 0, 3], [0, 0, 0, 1.0]]),
    ]
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    density=st.sampled_from([0.05, 0.3, 0.9]),
    affine=AFFINES,
    order=st.sampled_from("CF"),
)
def test_measures_are_those_of_the_voxels(
    seed: int, shape: tuple[int, ...], density: float, affine: np.ndarray, order: str
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.asarray(rng.integers(1, 4, shape) * (rng.random(shape) < density), np.uint8, order)
    values = rng.normal(100, 30, shape).astype(np.float32)
    kept = values.copy()
    for number, row in enumerate(measured(labels, values, affine), start=1):
        mask = labels == number
        index = np.argwhere(mask)
        size = abs(np.linalg.det(affine[:3, :3]))
        assert row["voxels"] == len(index)
        assert row["volume_ml"] == pytest.approx(len(index) * size / 1000, abs=1e-6)
        if not len(index):
            assert row["mean"] is row["first_slice"] is row["centroid_x_mm"] is None
            assert (row["components"], row["touches_border"]) == (0, "none")
            continue
        parts = connected(mask, connectivity=3)
        assert row["components"] == parts.max()
        largest = np.bincount(parts.ravel())[1:].max()
        assert row["largest_component_ml"] == pytest.approx(largest * size / 1000, abs=1e-6)
        assert (row["first_slice"], row["last_slice"]) == (index[:, 2].min(), index[:, 2].max())
        center = affine @ [*index.mean(0), 1]
        stated = [row[f"centroid_{axis}_mm"] for axis in "xyz"]
        np.testing.assert_allclose(stated, center[:3], atol=1e-5)
        inside = values[mask].astype(np.float64)
        np.testing.assert_allclose(
            [row["mean"], row["sd"], row["p05"], row["p95"]],
            [inside.mean(), inside.std(), *np.percentile(inside, (5, 95))],
            atol=1e-3,
        )
    np.testing.assert_array_equal(values, kept)


@pytest.mark.parametrize(
    ("where", "sides"),
    [
        ((0, 2, 2), "R"),
        ((4, 2, 2), "L"),
        ((2, 0, 2), "A"),
        ((2, 4, 2), "P"),
        ((2, 2, 0), "I"),
        ((2, 2, 4), "S"),
        ((2, 2, 2), "none"),
        ((0, 4, 4), "RPS"),
    ],
)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_sides_are_those_of_the_patient(
    where: tuple[int, ...], sides: str, signs: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    # `where` counts in patient directions (left, back, head); the lattice is permuted and flipped.
    affine = np.eye(4)
    affine[:3, :3] = 0
    index = [0, 0, 0]
    for axis, direction in enumerate(axes):
        affine[direction, axis] = signs[axis]
        index[axis] = where[direction] if signs[axis] > 0 else 4 - where[direction]
    affine[:3, :3] += 0.1 * np.roll(affine[:3, :3], 1, axis=0)  # somewhat oblique
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[tuple(index)] = 1
    (row,) = measured(labels, np.zeros((5, 5, 5), np.float32), affine, count=1)
    assert row["touches_border"] == sides


def test_the_volume_of_a_tilted_sphere_is_right(
    make_case: Callable[..., Case], make_volume: Callable[[Case], Volume]
) -> None:
    case = make_case("ct_tilt_philips")
    axes = np.meshgrid(*[np.arange(size) for size in case.grid.shape], indexing="ij")
    points = np.stack([*axes, np.ones(case.grid.shape)], -1) @ case.grid.affine[:3].T
    middle = case.grid.affine[:3] @ [*(np.array(case.grid.shape) - 1) / 2, 1]
    labels = (np.linalg.norm(points - middle, axis=-1) < 12).astype(np.uint8)
    (row,) = measure_structures(case, make_volume(case), labels, model_of(1))
    assert row.volume_ml * 1000 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)


def test_volume_on_interpolated_slices_is_told(
    make_case: Callable[..., Case],
    make_segmentation: Callable[..., Segmentation],
    make_volume: Callable[[Case], Volume],
) -> None:
    case = make_case("ct_gap_one_missing")
    assert case.interpolated == (11,)
    labels = make_segmentation(case).labels
    rows = measure_structures(case, make_volume(case), labels, model_of(2))
    for row in rows:
        there = np.count_nonzero(labels[:, :, 11] == row.label) * case.grid.voxel_mm3 / 1000
        assert row.interpolated_ml == pytest.approx(there, abs=1e-6)
        assert row.interpolated_ml < row.volume_ml
    assert rows[0].interpolated_ml > 0


def some_rows(empty: bool = False) -> list:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3, 1:3, 1:3] = not empty
    case = case_on(Grid((4, 4, 4), np.eye(4)))
    volume = Volume(np.arange(64, dtype=np.float32).reshape(4, 4, 4), "HU", (), "")
    return measure_structures(case, volume, labels, model_of(2))


def test_nothing_and_what_is_cut_off_are_told() -> None:
    assert [each.code for each in volume_findings(some_rows(empty=True))] == ["W17"]
    assert volume_findings(some_rows()) == []
    rows = some_rows()
    (finding,) = volume_findings([replace(rows[0], touches_border="RPS"), rows[1]])
    assert str(finding).startswith("W18 part 1 touches the image border (R, P, S)")


def test_the_table_has_a_line_for_every_label(tmp_path: Path) -> None:
    write_volumes_csv(tmp_path / "volumes.csv", some_rows())
    text = (tmp_path / "volumes.csv").read_text(encoding="utf-8")
    assert "\r" not in text
    first, second = csv.DictReader(text.splitlines())
    assert tuple(first) == (
        *("case_id", "label", "name", "volume_ml", "voxels", "voxel_mm3", "components"),
        *("largest_component_ml", "interpolated_ml", "touches_border", "first_slice"),
        *("last_slice", "centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
        *("mean", "sd", "p05", "p95", "unit"),
    )
    assert (first["volume_ml"], first["voxels"], first["unit"]) == ("0.008", "8", "HU")
    assert (second["volume_ml"], second["mean"], second["first_slice"]) == ("0.0", "", "")


def test_the_json_says_the_same(tmp_path: Path) -> None:
    rows = some_rows()
    write_volumes_json(tmp_path / "volumes.json", rows, "c1", "f" * 64)
    read = json.loads((tmp_path / "volumes.json").read_text(encoding="utf-8"))
    assert (read["schema"], read["case_id"], read["fingerprint"]) == (
        "medsemi.volumes/1",
        "c1",
        "f" * 64,
    )
    first, second = read["structures"]
    assert first["slices"] == [rows[0].first_slice, rows[0].last_slice] == [1, 2]
    assert first["centroid_lps_mm"] == [1.5, 1.5, 1.5]
    assert first["intensity"]["mean"] == rows[0].mean == 31.5
    assert second["slices"] is second["centroid_lps_mm"] is second["intensity"] is None
