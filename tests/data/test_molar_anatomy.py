"""Molars have the sizes of the cited measurements."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from medsemi.data.molar_anatomy import JITTER, MB2_SHARE, draw_molar, draw_premolar
from medsemi.data.tooth_shapes import Chamber, Tooth, Tube


@lru_cache
def drawn(is_upper: bool) -> list[Tooth]:
    return [draw_molar(np.random.default_rng(i), is_upper=is_upper) for i in range(150)]


@pytest.fixture(scope="module", params=[True, False], ids=["upper", "lower"])
def molars(request: pytest.FixtureRequest) -> list[Tooth]:
    return drawn(request.param)


def is_upper(molars: list[Tooth]) -> bool:
    return "P" in molars[0].canals


def widths(tube: Tube, above_apex: float) -> np.ndarray:
    """Mesiodistal and buccolingual width of a horizontal cut, in mm."""
    return 2 * np.array(tube.at(np.array([tube.heights[0] + above_apex]))[2:]).ravel()


def test_names_and_number_of_canals(molars: list[Tooth]) -> None:
    names = [frozenset(tooth.canals) for tooth in molars]
    if is_upper(molars):
        assert set(names) == {frozenset({"MB1", "DB", "P"}), frozenset({"MB1", "MB2", "DB", "P"})}
        # Four standard errors of a share of 150.
        assert np.mean(["MB2" in n for n in names]) == pytest.approx(MB2_SHARE, abs=0.15)
    else:
        assert set(names) == {frozenset({"MB", "ML", "D"}), frozenset({"MB", "ML", "DB", "DL"})}


@pytest.mark.parametrize(
    ("name", "is_upper", "mesiodistal", "buccolingual"),
    [("MB1", True, 0.27, 0.37), ("P", True, 0.40, 0.40), ("MB", False, 0.27, 0.55)],
)
def test_widths_two_mm_from_the_apex(
    name: str, is_upper: bool, mesiodistal: float, buccolingual: float
) -> None:
    found = [widths(tooth.canals[name].tube, 2.0) for tooth in drawn(is_upper)]
    medians = np.median(found, axis=0)
    # The cut of a leaning canal is longer, by up to 1 / cos(35 degrees).
    assert mesiodistal * 0.9 < medians[0] < mesiodistal * 1.3
    assert buccolingual * 0.9 < medians[1] < buccolingual * 1.3
    spread = np.std(np.log(np.array(found)[:, 0]))
    assert spread == pytest.approx(JITTER, abs=0.07)


def test_canals_taper(molars: list[Tooth]) -> None:
    for tooth in molars:
        for name, canal in tooth.canals.items():
            if name == "MB2":
                continue
            area = [np.prod(widths(canal.tube, above)) for above in (0.5, 2.0, 5.0, 30.0)]
            assert area == sorted(area)
            assert area[-1] > 2 * area[0]


def test_the_second_mesiobuccal_canal_is_the_narrow_one() -> None:
    both = [tooth.canals for tooth in drawn(True) if "MB2" in tooth.canals]
    ratios = [c["MB2"].tube.half_axes.mean() / c["MB1"].tube.half_axes.mean() for c in both]
    assert np.median(ratios) < 0.75
    ends = [np.linalg.norm(c["MB2"].tube.line()[-1] - c["MB1"].tube.line()[-1]) for c in both]
    joints = [
        np.abs(c["MB1"].tube.line() - c["MB2"].tube.line()[-1]).sum(axis=1).min() for c in both
    ]
    joined = np.array(joints) < 0.1
    assert 0.4 < joined.mean() < 0.76
    assert min(np.array(ends)[~joined]) > 0.3
    orifices = [np.linalg.norm(c["MB2"].tube.line()[0] - c["MB1"].tube.line()[0]) for c in both]
    assert np.mean(orifices) == pytest.approx(1.5, abs=0.4)


def test_curvature_and_radius(molars: list[Tooth]) -> None:
    bends = []
    for tooth in molars:
        line = tooth.canals["MB1" if is_upper(molars) else "MB"].tube.line()
        ways = np.diff(line, axis=0)
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        bends.append(np.degrees(np.arccos(ways[0] @ ways[-1])))
        coarse = line[::20]
        turns = np.diff(coarse, axis=0)
        lengths = np.linalg.norm(turns, axis=1)
        cosines = (turns[1:] * turns[:-1]).sum(axis=1) / (lengths[1:] * lengths[:-1])
        assert (lengths[1:] / np.arccos(np.clip(cosines, -1, 1)).clip(1e-6)).min() > 5
    assert 15 < np.mean(bends) < 30
    assert np.std(bends) > 3


def test_chamber(molars: list[Tooth]) -> None:
    heights = [tooth.chamber.ceiling - tooth.chamber.floor for tooth in molars]
    assert np.mean(heights) == pytest.approx(1.88 if is_upper(molars) else 1.7, abs=0.2)
    assert min(heights) >= 1.3 - 1e-9


def test_pulp_is_inside_the_tooth_and_orifices_open_into_the_chamber(molars: list[Tooth]) -> None:
    for tooth in molars[:40]:
        for canal in tooth.canals.values():
            line = canal.tube.line().T
            assert tooth.distance(line).max() < 0
            assert tooth.chamber.contains(line[:, :1]).all()
            # The surface of the canal, too, is at least 0.1 mm inside.
            for sign in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                surface = line.copy()
                surface[:2] += (canal.tube.half_axes[::-1] * sign).T
                assert tooth.distance(surface).max() < -0.05


def test_premolars_have_one_canal() -> None:
    tooth = draw_premolar(np.random.default_rng(0))
    assert list(tooth.canals) == ["B"]
    assert tooth.distance(tooth.canals["B"].tube.line().T).max() < 0


def test_distance_of_a_cylinder_is_exact_at_its_surface() -> None:
    heights = np.linspace(0, 10, 11)
    tube = Tube(heights, np.zeros((11, 2)), np.full((11, 2), 2.0))
    points = np.array([[2.0, 0, 5], [2.5, 0, 5], [1.5, 0, 5], [0, 0, 10.5], [50, 0, 5]]).T
    np.testing.assert_allclose(tube.distance(points), [0, 0.5, -0.5, 0.5, 1e3])
    assert tube.contains(points).tolist() == [True, False, True, False, False]


def test_a_chamber_has_horns_walls_and_a_floor() -> None:
    walls = np.array([(1.0, 0, -2), (-1, 0, -2), (0, 1, -2), (0, -1, -2)])
    chamber = Chamber(walls, 0.5, -2.0, 0.0, np.zeros((1, 2)), 1.0)
    points = np.array([[0, 0, -1], [0, 0, 0.9], [1.9, 1.9, 0.5], [0, 0, -2.1], [3, 0, -1.0]]).T
    assert chamber.contains(points).tolist() == [True, True, False, False, False]
