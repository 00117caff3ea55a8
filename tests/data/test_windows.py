"""Windows against the published augmentation, and their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medsemi.data.windows import (
    WindowDraw,
    cut_window,
    draw_foreground,
    draw_window,
    foreground_counts,
    padding_before,
    turned_voxel,
)

WINDOW = (16, 16, 8)


@pytest.mark.parametrize("case", ["la_fits", "la_needs_padding"])
@pytest.mark.parametrize("seed", range(4))
def test_the_published_augmentation(golden: Path, case: str, seed: int) -> None:
    g = np.load(golden / "augment.npz")
    turns, axis, *corner = g[f"{case}/seed{seed}/draws_k_axis_w_h_d"].tolist()
    for kind in ("image", "label"):
        source = g[f"{case}/{kind}"]
        padding = padding_before(np.rot90(source, turns).shape, WINDOW)
        start = tuple(c - p for c, p in zip(corner, padding, strict=True))
        cut = cut_window(source, WindowDraw(turns, (axis,), start), WINDOW)
        np.testing.assert_array_equal(cut, g[f"{case}/seed{seed}/{kind}"])


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(3, 14), min_size=2, max_size=3),
    rule=st.sampled_from(["published", "symmetric", "none"]),
    seed=st.integers(0, 2**31),
)
def test_a_window_holds_voxels_of_the_volume_or_zeros(
    shape: list[int], rule: str, seed: int
) -> None:
    volume = np.arange(1, np.prod(shape) + 1).reshape(1, *shape)
    window = (8, 6, 4)[: len(shape)]
    draw = draw_window(shape, window, rule, np.random.default_rng(seed))
    cut = cut_window(volume, draw, window)
    assert cut.shape == (1, *window)
    inside = cut[cut > 0]
    assert len(np.unique(inside)) == len(inside)
    np.testing.assert_array_equal(cut[0], cut_window(volume[0], draw, window))
    if all(n > w for n, w in zip(np.rot90(volume[0], draw.turns).shape, window, strict=True)):
        assert (cut > 0).all()
        assert cut.flags.c_contiguous


def symmetries(rule: str) -> set[bytes]:
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    found = set()
    for seed in range(300):
        draw = draw_window((3, 3), (2, 2), rule, np.random.default_rng(seed))
        found.add(cut_window(image, WindowDraw(draw.turns, draw.flips, (0, 0)), (3, 3)).tobytes())
    return found


def test_the_published_rule_shows_mirrored_anatomy_alone() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    turned = {np.ascontiguousarray(np.rot90(image, k)).tobytes() for k in range(4)}
    assert len(symmetries("published")) == 4
    assert symmetries("published").isdisjoint(turned)
    assert len(symmetries("symmetric")) == 8
    assert symmetries("none") == {image.tobytes()}


def test_every_place_is_drawn() -> None:
    corners = {
        draw_window((7,) * 2, (4, 4), "none", np.random.default_rng(s)).corner for s in range(400)
    }
    assert corners == {(x, y) for x in range(4) for y in range(4)}


def test_every_place_of_the_padded_volume_is_drawn() -> None:
    """Zeros before and behind: 2 along the first axis, 3 along the second."""
    corners = {
        draw_window((7, 5), (6, 6), "none", np.random.default_rng(s)).corner for s in range(400)
    }
    assert corners == {(x, y) for x in range(-2, 4) for y in range(-3, 3)}


def test_padding_follows_the_published_rule() -> None:
    assert padding_before((148, 132, 88), (112, 112, 80)) == (0, 0, 0)
    assert padding_before((100, 150, 90), (112, 112, 80)) == (9, 0, 0)
    assert padding_before((112, 150, 90), (112, 112, 80)) == (3, 0, 0)


@settings(max_examples=60)
@given(
    turns=st.integers(0, 3),
    flips=st.sets(st.integers(0, 2)).map(tuple),
    voxel=st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)),
)
def test_a_voxel_is_followed_through_turns_and_mirrors(
    turns: int, flips: tuple[int, ...], voxel: tuple[int, int, int]
) -> None:
    volume = np.zeros((5, 4, 3))
    volume[voxel] = 1
    space = (4, 5, 3) if turns % 2 else (5, 4, 3)
    turned = cut_window(volume, WindowDraw(turns, flips, (0, 0, 0)), space)
    assert turned[turned_voxel(voxel, (5, 4, 3), turns, flips)] == 1


@settings(max_examples=60)
@given(
    rule=st.sampled_from(["published", "symmetric", "none"]),
    voxel=st.tuples(st.integers(0, 19), st.integers(0, 17), st.integers(0, 15)),
    window=st.sampled_from([(8, 6, 4), (7, 5, 3), (24, 6, 16)]),
    seed=st.integers(0, 2**31),
)
def test_a_window_is_centered_where_the_volume_allows(
    rule: str, voxel: tuple[int, int, int], window: tuple[int, int, int], seed: int
) -> None:
    volume = np.zeros((20, 18, 16))
    volume[voxel] = 1
    draw = draw_window(volume.shape, window, rule, np.random.default_rng(seed), voxel)
    cut = cut_window(volume, draw, window)
    assert cut.sum() == 1
    place = np.argwhere(cut)[0]
    moved = turned_voxel(voxel, volume.shape, draw.turns, draw.flips)
    space = np.rot90(volume, draw.turns).shape
    padding = padding_before(space, window)
    for axis, (n, edge, pad) in enumerate(zip(space, window, padding, strict=True)):
        at_border = draw.corner[axis] in (-pad, n + pad - edge)
        assert at_border or place[axis] == edge // 2
        assert draw.corner[axis] + place[axis] == moved[axis]


def test_foreground_is_drawn_with_its_probability_and_evenly() -> None:
    label = np.zeros((5, 4, 2), np.uint8)
    label.flat[[3, 17, 29]] = 1, 2, 1
    counts = foreground_counts(label)
    random = np.random.default_rng(0)
    drawn = [draw_foreground(label, counts, 0.6, random) for _ in range(3000)]
    assert np.mean([d is not None for d in drawn]) == pytest.approx(0.6, abs=0.04)
    flat = [np.ravel_multi_index(d, (5, 4, 2)) for d in drawn if d is not None]
    values, counts = np.unique(flat, return_counts=True)
    assert values.tolist() == [3, 17, 29]
    assert counts.min() > 500


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(0, 2))
)
def test_a_center_is_that_of_a_list_of_all_foreground(label: np.ndarray) -> None:
    """One plane is read where a list of all voxels was kept; the draw is the same."""
    listed, drawn = np.random.default_rng(1), np.random.default_rng(1)
    counts, everywhere = foreground_counts(label), np.argwhere(label)
    for _ in range(5):
        listed.random()
        center = draw_foreground(label, counts, 1.0, drawn)
        wanted = tuple(everywhere[listed.integers(len(everywhere))]) if len(everywhere) else None
        assert center == wanted


def test_no_foreground_and_no_probability_draw_no_center() -> None:
    random = np.random.default_rng(0)
    empty = np.zeros((5, 4), np.uint8)
    assert draw_foreground(empty, foreground_counts(empty), 1.0, random) is None
    assert draw_foreground(None, foreground_counts(None), 1.0, random) is None
    state, full = random.bit_generator.state, empty + 1
    assert draw_foreground(full, foreground_counts(full), 0.0, random) is None
    assert random.bit_generator.state == state


def test_every_axis_is_mirrored_half_of_the_time_where_all_are_asked_for() -> None:
    draws = [
        draw_window((9, 9, 9), (4, 4, 4), "all", np.random.default_rng(seed)) for seed in range(400)
    ]
    for axis in range(3):
        assert np.mean([axis in draw.flips for draw in draws]) == pytest.approx(0.5, abs=0.08)
    flat = [draw_window((9, 9), (4, 4), "all", np.random.default_rng(s)).flips for s in range(40)]
    assert {axis for flips in flat for axis in flips} == {0, 1}


def test_a_window_that_is_not_square_is_turned_by_halves_alone() -> None:
    draws = [
        draw_window((32, 320, 320), (24, 288, 288), "symmetric", np.random.default_rng(n))
        for n in range(40)
    ]
    assert {draw.turns for draw in draws} == {0, 2}


@pytest.mark.parametrize(
    ("spacing", "turns"),
    [
        ((1.2, 0.8, 0.8), {0, 2}),
        ((0.8, 1.2), {0, 2}),
        ((0.8, 0.8, 3.0), {0, 1, 2, 3}),
        ((0.8, 0.83, 3.0), {0, 1, 2, 3}),
    ],
)
def test_voxels_that_are_not_square_are_turned_by_halves_alone(
    spacing: tuple[float, ...], turns: set[int]
) -> None:
    """A quarter turn of a sagittal head of 1.2 x 0.8 x 0.8 mm would stretch it 1.5 times."""
    shape, window = (20, 24, 24)[: len(spacing)], (8, 8, 8)[: len(spacing)]
    for rule in ("published", "symmetric", "all"):
        randoms = [np.random.default_rng(seed) for seed in range(60)]
        draws = [draw_window(shape, window, rule, random, spacing=spacing) for random in randoms]
        assert {draw.turns for draw in draws} == turns
        assert {axis for draw in draws for axis in draw.flips} >= {0, 1}


def test_square_voxels_change_no_draw() -> None:
    for seed in range(30):
        with_it, without = (np.random.default_rng(seed) for _ in range(2))
        draw = draw_window((9, 8, 7), (4, 4, 4), "all", with_it, spacing=(1.25, 1.25, 3.0))
        assert draw == draw_window((9, 8, 7), (4, 4, 4), "all", without)
        assert with_it.bit_generator.state == without.bit_generator.state
