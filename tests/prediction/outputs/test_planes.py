"""Planes as pictures: the right voxels at the right place, in true proportions."""

from __future__ import annotations

import runpy
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medsemi.prediction.case import Grid
from medsemi.prediction.outputs.planes import (
    HU_WINDOWS,
    Frame,
    display_window,
    draw_plane,
    make_scene,
    plane_center,
)

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("drawable.py"))))
RED = DRAW.COLORS[0]


def affine(*steps: float, origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    matrix = np.diag([*steps, 1.0])
    matrix[:3, 3] = origin
    return matrix


def round_case(grid: Grid, center: tuple[float, float, float], radius: float) -> object:
    """A bright ball, labeled, in a dark surrounding."""
    inside = DRAW.ball(grid, center, radius)
    return DRAW.a_scene(grid, inside * 100.0, inside.astype(np.uint8))


def pictures(
    grid: Grid, values: np.ndarray, labels: np.ndarray, at: np.ndarray
) -> list[np.ndarray]:
    """The three planes through a point of the patient."""
    scene = DRAW.a_scene(grid, values, labels)
    index = np.rint(np.linalg.solve(grid.affine, [*at, 1])).astype(int)
    return [
        np.asarray(draw_plane(scene, view, int(index[view.axis]), Frame((120, 110))), int)
        for view in scene.views.values()
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_picture_depends_on_the_patient_and_not_on_the_storage(order: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    grid = Grid((14, 12, 10), affine(1.5, 2.0, 2.5, origin=(-9, -8, -7)))
    values = generator.random(grid.shape) * 100
    labels = DRAW.ball(grid, (-1, 2, 3), 6).astype(np.uint8)
    at = grid.affine[:3, :3] @ (6, 7, 4) + grid.affine[:3, 3]
    expected = pictures(grid, values, labels, at)
    for signs in product((1, -1), repeat=3):
        stored, drawn, matrix = values, labels, grid.affine.copy()
        for axis, sign in enumerate(signs):
            if sign < 0:
                stored, drawn = np.flip(stored, axis), np.flip(drawn, axis)
                matrix[:3, 3] += matrix[:3, axis] * (grid.shape[axis] - 1)
                matrix[:3, axis] *= -1
        matrix = matrix[:, [*order, 3]]
        turned = Grid(tuple(stored.transpose(order).shape), matrix)
        found = pictures(turned, stored.transpose(order), drawn.transpose(order), at)
        for one, other in zip(found, expected, strict=True):
            # Rims of lines may be rounded otherwise; a mirrored picture differs nearly everywhere.
            assert (np.abs(one - other) > 2).mean() < 0.05


def test_left_of_the_patient_is_right_in_the_picture_and_the_head_is_up() -> None:
    grid = Grid((20, 20, 20), affine(1, 1, 1))
    values = np.zeros(grid.shape)
    values[15:18, 2:5, 15:18] = 100  # left, front, head
    scene = DRAW.a_scene(grid, values, np.zeros(grid.shape, np.uint8))
    expected = {"axial": ("right", "top"), "coronal": ("right", "top"), "sagittal": ("left", "top")}
    for name, (side, end) in expected.items():
        view = scene.views[name]
        index = {"axial": 16, "coronal": 3, "sagittal": 16}[name]
        picture = np.asarray(draw_plane(scene, view, index, Frame((200, 200))).convert("L"), int)
        # Letters and bar lie at the edges and on the middle lines.
        quarters = {
            ("left", "top"): picture[20:85, 20:85],
            ("right", "top"): picture[20:85, 115:180],
            ("right", "bottom"): picture[115:180, 115:180],
        }
        brightest = max(quarters, key=lambda place: quarters[place].sum())
        assert brightest == (side, end)


@pytest.mark.parametrize("lean", [0.0, 0.35])
def test_a_ball_is_round_on_any_lattice(lean: float) -> None:
    matrix = affine(0.8, 1.3, 2.9, origin=(-40, -40, -40))
    matrix[1, 2] = lean * 2.9
    grid = Grid((100, 80, 28), matrix)
    center = tuple(grid.affine[:3, :3] @ (50, 40, 14) + grid.affine[:3, 3])
    scene = round_case(grid, center, 20.0)
    for view in scene.views.values():
        field = 60.0
        index = scene.extents[1].center
        frame = Frame((300, 300), plane_center(view, (50, 40, 14)), field)
        picture = np.asarray(draw_plane(scene, view, index[view.axis], frame))
        rows, columns = np.nonzero(DRAW.near(picture, RED))
        distances = np.hypot(rows - 149.5, columns - 149.5) * field / 300
        # Within a voxel of the ball all around; a wrong aspect would be out by 6 mm and more.
        assert abs(np.median(distances) - 20) < 1
        assert distances.max() < 23
        assert distances.min() > 17


def test_the_outline_lies_on_the_edge_of_what_is_bright() -> None:
    grid = Grid((60, 60, 60), affine(1, 1, 1))
    scene = round_case(grid, (30, 30, 30), 18.0)
    plain = DRAW.a_scene(
        grid, DRAW.ball(grid, (30, 30, 30), 18.0) * 100.0, np.zeros((60, 60, 60), np.uint8)
    )
    for view in scene.views.values():
        frame = Frame((360, 360))
        outlined = np.asarray(draw_plane(scene, view, 30, frame))
        gray = np.asarray(draw_plane(plain, view, 30, frame).convert("L"), float)
        on_line = DRAW.near(outlined, RED)[40:320, 40:320]
        assert on_line.any()
        # Half of what lies under the line is bright, half is dark.
        assert 0.35 < gray[40:320, 40:320][on_line].mean() / 255 < 0.65


def test_the_bar_has_the_length_that_it_tells() -> None:
    grid = Grid((100, 100, 100), affine(1, 1, 1))
    scene = DRAW.a_scene(grid, np.zeros(grid.shape), np.zeros(grid.shape, np.uint8))
    picture = np.asarray(
        draw_plane(scene, scene.views["axial"], 50, Frame((400, 400))).convert("L")
    )
    lowest = picture[-30:, :200]  # 4 pixels per mm: the bar of 20 mm is 80 pixels long
    longest = max(
        len(run)
        for line in lowest
        for run in "".join("#" if v > 200 else " " for v in line).split()
    )
    assert abs(longest - 80) <= 3


def test_nothing_is_mirrored_or_copied_of_the_volume() -> None:
    values = np.zeros((8, 8, 8), np.float32)
    grid = Grid((8, 8, 8), affine(1, 1, 1))
    scene = make_scene(
        DRAW.a_case(grid),
        DRAW.a_volume(values),
        DRAW.a_segmentation(values.astype(np.uint8)),
        DRAW.a_model(),
    )
    assert scene.values.dtype == np.float32
    draw_plane(scene, scene.views["axial"], 3, Frame((64, 64)))
    assert not values.any()


@pytest.mark.parametrize(("hu", "name"), [(-800, "lung"), (60, "soft tissue"), (600, "bone")])
def test_ct_is_shown_in_the_window_of_what_was_found(hu: float, name: str) -> None:
    values = np.full((10, 10, 10), -1000.0)
    labels = np.zeros((10, 10, 10), np.uint8)
    values[2:6], labels[2:6] = hu, 1
    window, text = display_window(DRAW.a_volume(values, "HU"), labels)
    assert window == HU_WINDOWS[name]
    assert text.startswith(name)


def test_other_images_are_shown_between_percentiles() -> None:
    values = np.random.default_rng(0).normal(500, 50, (40, 40, 40))
    values[0, 0, 0] = 1e6
    (low, high), text = display_window(DRAW.a_volume(values), np.zeros(values.shape, np.uint8))
    assert 330 < low < 400
    assert 600 < high < 670
    assert "%" in text


def test_a_constant_image_can_be_drawn() -> None:
    grid = Grid((8, 8, 1), affine(1, 1, 5))
    scene = DRAW.a_scene(grid, np.full(grid.shape, 7.0), np.ones(grid.shape, np.uint8))
    for view in scene.views.values():
        assert draw_plane(scene, view, 0, Frame((50, 70))).size == (50, 70)


def test_a_case_without_a_grid_is_refused() -> None:
    nothing = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="without a grid"):
        make_scene(
            DRAW.a_case(None), DRAW.a_volume(nothing), DRAW.a_segmentation(nothing), DRAW.a_model()
        )


def test_a_structure_within_another_is_seen() -> None:
    grid = Grid((60, 60, 60), affine(1, 1, 1))
    labels = 2 * DRAW.ball(grid, (30, 30, 30), 20).astype(np.uint8)
    labels[DRAW.ball(grid, (30, 30, 30), 10)] = 1
    scene = DRAW.a_scene(grid, np.zeros(grid.shape), labels)
    picture = np.asarray(draw_plane(scene, scene.views["axial"], 30, Frame((300, 300))))
    inner, outer = (DRAW.near(picture, color).sum() for color in DRAW.COLORS[:2])
    assert 300 < inner < outer
