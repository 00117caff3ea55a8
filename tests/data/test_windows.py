"""Windows against the published augmentation, and their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.data.windows import WindowDraw, cut_window, draw_window, padding_before

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


def test_padding_follows_the_published_rule() -> None:
    assert padding_before((148, 132, 88), (112, 112, 80)) == (0, 0, 0)
    assert padding_before((100, 150, 90), (112, 112, 80)) == (9, 0, 0)
    assert padding_before((112, 150, 90), (112, 112, 80)) == (3, 0, 0)
