"""Rotated and scaled windows against what can be computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medsemi.data.geometry import Geometry, _places, box_around, turned_axes, window_cutter
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.data.windows import WindowDraw, cut_window
from medsemi.errors import ConfigError


def ramp(shape: tuple[int, ...], slope: np.ndarray) -> np.ndarray:
    """A linear image, which linear interpolation reproduces: value = slope . voxel."""
    return np.tensordot(slope, np.indices(shape), 1).astype(np.float32)[None]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.0, 3.0), (0.7, 1.2)])
@pytest.mark.parametrize("seed", range(4))
def test_a_linear_image_is_read_where_the_matrix_says(spacing: tuple, seed: int) -> None:
    axes, generator = len(spacing), np.random.default_rng(seed)
    matrix = Geometry(1.0).draw(spacing, generator)
    assert matrix is not None
    shape, window = (60, 58, 62)[:axes], (12, 10, 8)[:axes]
    draw, slope = WindowDraw(0, (), (24, 23, 26)[:axes]), np.array([0.3, -0.2, 0.5])[:axes]
    found = window_cutter(draw, window, matrix)(ramp(shape, slope))
    center = np.array(draw.corner) + (np.array(window) - 1) / 2
    offsets = np.indices(window).reshape(axes, -1) - (np.array(window)[:, None] - 1) / 2
    expected = slope @ (center[:, None] + matrix @ offsets)
    np.testing.assert_allclose(found.reshape(-1), expected, atol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
def test_voxels_are_read_where_torch_reads_them(axes: int) -> None:
    generator = np.random.default_rng(axes)
    matrix = generator.normal(size=(axes, axes))
    edges = (6, 5, 4)[:axes]
    places = torch.from_numpy(_places(matrix, edges, edges))  # a box of its own size scales nothing
    scaled = matrix * np.array(edges) / np.array(edges)[:, None]
    theta = np.concatenate([scaled[::-1, ::-1], np.zeros((axes, 1))], axis=1)
    grid = functional.affine_grid(
        torch.tensor(theta[None]).float(), [1, 1, *edges], align_corners=False
    )
    torch.testing.assert_close(places, grid[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_box_holds_all_that_is_read(seed: int) -> None:
    matrix = Geometry(1.0, (180, 180, 180)).draw((1.0, 1.0, 2.0), np.random.default_rng(seed))
    window = (12, 10, 8)
    ones = np.ones((1, 120, 120, 120), np.float32)
    draw = WindowDraw(0, (), (50, 50, 50))
    np.testing.assert_allclose(window_cutter(draw, window, matrix)(ones), 1.0, atol=1e-6)
    margins = np.array(box_around(matrix, window)) - window
    assert (margins >= 0).all()
    assert (margins % 2 == 0).all()


def test_a_rotation_keeps_lengths_in_millimeters() -> None:
    spacing = np.array([0.5, 1.0, 3.0])
    matrix = Geometry(1.0, scaling=(1, 1)).draw(spacing, np.random.default_rng(0))
    in_mm = np.diag(spacing) @ matrix @ np.diag(1 / spacing)
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)


def test_a_scaling_shows_the_object_larger_or_smaller_as_often() -> None:
    geometry, generator = Geometry(1.0, (0, 0, 0), (0.5, 3.0)), np.random.default_rng(0)
    sizes = [1 / geometry.draw((1, 1, 1), generator)[0, 0] for _ in range(500)]
    assert 0.5 <= min(sizes) < 0.55
    assert 2.8 < max(sizes) <= 3.0
    assert np.mean(np.array(sizes) > 1) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("axis", range(3))
def test_angles_go_both_ways_up_to_the_largest(axis: int) -> None:
    geometry = Geometry(1.0, np.where(np.arange(3) == axis, 30.0, 0.0), (1, 1))
    generator = np.random.default_rng(0)
    matrices = [geometry.draw((1, 1, 1), generator) for _ in range(200)]
    one, two = (other for other in range(3) if other != axis)
    angles = np.degrees([np.arctan2(matrix[two, one], matrix[one, one]) for matrix in matrices])
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30


def test_slices_are_turned_by_the_last_angle_alone() -> None:
    generator = np.random.default_rng(0)
    turned = Geometry(1.0, (0, 0, 90), (1, 1)).draw((1, 1), generator)
    np.testing.assert_allclose(turned @ turned.T, np.eye(2), atol=1e-12)
    assert abs(turned[0, 1]) > 0.01
    still = Geometry(1.0, (90, 90, 0), (1, 1)).draw((1, 1), generator)
    np.testing.assert_array_equal(still, np.eye(2))


def test_an_axis_without_angle_stays() -> None:
    matrix = Geometry(1.0, (0, 0, 90), (1, 1)).draw((1, 1, 5), np.random.default_rng(1))
    np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-12)
    assert abs(matrix[0, 1]) > 0.01


def test_a_label_keeps_its_type_and_values_and_follows_its_image() -> None:
    label = np.random.default_rng(0).integers(0, 200, (30, 30, 30)).astype(np.uint8)
    image = label[None].astype(np.float32)
    matrix = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)  # a quarter turn: no interpolation
    draw = WindowDraw(1, (2,), (8, 9, 7))
    cut = window_cutter(draw, (8, 8, 6), matrix)(label)
    assert cut.dtype == np.uint8
    np.testing.assert_allclose(window_cutter(draw, (8, 8, 6), matrix)(image)[0], cut, atol=1e-3)
    straight = cut_window(label, draw, (8, 8, 6))
    np.testing.assert_array_equal(cut, np.rot90(straight, 1, (1, 0)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 2.5), (0.7, 1.2)])
@pytest.mark.parametrize("seed", range(6))
def test_a_label_is_read_where_torch_reads_the_nearest_voxel(spacing: tuple, seed: int) -> None:
    axes, generator = len(spacing), np.random.default_rng(seed)
    matrix = Geometry(1.0, (180, 180, 180)).draw(spacing, generator)
    window, draw = (14, 14, 9)[:axes], WindowDraw(1, (0,), (-3, 10, 20)[:axes])
    label = generator.integers(0, 4, (34, 30, 40)[:axes]).astype(np.uint8)
    box = box_around(matrix, window)
    corner = [c - (b - w) // 2 for c, b, w in zip(draw.corner, box, window, strict=True)]
    around = cut_window(label, replace(draw, corner=tuple(corner)), box)
    read = functional.grid_sample(
        torch.from_numpy(around[None, None].astype(np.float32)),
        torch.from_numpy(_places(matrix, window, box))[None], "nearest", align_corners=False,
    )  # fmt: skip
    np.testing.assert_array_equal(window_cutter(draw, window, matrix)(label), read[0, 0].numpy())


def test_every_type_and_leading_axis_is_kept() -> None:
    matrix = Geometry(1.0, (0, 0, 180)).draw((1.0, 1.0), np.random.default_rng(0))
    cut = window_cutter(WindowDraw(0, (), (4, 5)), (8, 8), matrix)
    values = np.random.default_rng(1).integers(0, 9, (2, 20, 20))
    for kind in (np.float16, np.float64, np.int64):
        found = cut(values.astype(kind))
        assert found.dtype == kind
        np.testing.assert_array_equal(found[1], cut(values[1].astype(kind)))
    np.testing.assert_array_equal(cut(values)[0], cut(values[0]))


def test_probabilities_and_the_straight_window() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert Geometry(0.0).draw((1, 1, 1), generator) is None
    assert generator.bit_generator.state == before
    drawn = [Geometry(0.2).draw((1, 1, 1), generator) is not None for _ in range(1000)]
    assert np.mean(drawn) == pytest.approx(1 - 0.8**2, abs=0.05)
    assert turned_axes((1, 2, 3), 3) == (2, 1, 3)
    assert turned_axes((1, 2), 2) == (1, 2)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"probability": 1.5}, "geometry_probability"),
        ({"rotation": (30,)}, "rotation"),
        ({"scaling": (1.2, 1.4)}, "scaling"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Geometry(**settings)


def test_a_stream_without_geometry_is_that_of_before(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.random.default_rng(0).random((1, 20, 20, 20), np.float32))
    np.save(tmp_path / "l.npy", np.random.default_rng(1).integers(0, 2, (20, 20, 20), np.uint8))
    volume = Volume("one", tmp_path / "i.npy", tmp_path / "l.npy", np.eye(4))

    def stream(geometry: Geometry | None) -> StepStream:
        options = {"window": (8, 8, 8), "labeled_windows": 2, "unlabeled_windows": 1, "seed": 4}
        return StepStream([volume], [volume], geometry=geometry, **options)

    for step in range(3):
        before, never = stream(None)[step].labeled, stream(Geometry(0.0))[step].labeled
        assert before.image.equal(never.image)
        assert before.label.equal(never.label)
        turned = stream(Geometry(1.0))
        assert turned[step].labeled.image.equal(turned[step].labeled.image)
        assert not turned[step].labeled.image.equal(before.image)
        assert turned[step].labeled.label.dtype == before.label.dtype


def test_thick_slices_keep_their_thickness() -> None:
    random, flat, thick = np.random.default_rng(0), [], []
    geometry = Geometry(1.0, rotation=(0, 0, 180))
    for _ in range(20):
        matrix = geometry.draw((1.0, 1.0, 4.0), random)
        assert matrix is not None
        thick.append(matrix[2, 2])
        flat.append(np.linalg.det(matrix[:2, :2]))
    assert thick == [1.0] * 20
    assert min(flat) < 0.7 < 1.4 < max(flat)
