"""Canals that are there, cut, broken, shifted, invented, joined: each with a known answer."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from medsemi.data.root_canal_phantom import make_root_canal_phantom
from medsemi.evaluation.canal_lines import find_chamber, trace_canals
from medsemi.evaluation.canals import CanalScore, pooled_sensitivity, score_canal, score_tooth

TUBES = runpy.run_path(str(Path(__file__).with_name("tubes.py")))
molar = TUBES["molar"]
tube = TUBES["tube"]
EDGE = 0.25
CUBES = (EDGE, EDGE, EDGE)
WHOLE = {14.0: (6, 56), 26.0: (6, 56)}
TRUTH = molar(WHOLE)
STRAIGHT = 0.1 * np.array([(0, 0, z) for z in range(60)])


def test_a_perfect_prediction() -> None:
    score = score_tooth(TRUTH, TRUTH, CUBES)
    assert score == {
        "canals": 2,
        "canals_found": 2,
        "canals_followed": 2,
        "false_canals": 0,
        "breaks": 0,
        "apical_reach_mm": 0,
        "width_error_mm": 0,
    }


def test_a_gap_of_three_voxels_is_one_break() -> None:
    broken = TRUTH.copy()
    broken[:20, :, 30:33] = False
    score = score_tooth(broken, TRUTH, CUBES)
    assert (score["breaks"], score["canals_found"], score["canals_followed"]) == (1, 2, 2)
    # From the gap to the apex is 25 voxels; the other canal is perfect.
    assert score["apical_reach_mm"] == pytest.approx((33 - 6) * EDGE / 2, abs=EDGE)
    bridged = TRUTH.copy()
    bridged[:20, :, 30:32] = False
    assert score_tooth(bridged, TRUTH, CUBES)["breaks"] == 0


def test_what_the_apex_lacks_is_told_in_mm() -> None:
    short = molar({14.0: (14, 56), 26.0: (6, 56)})
    score = score_tooth(short, TRUTH, CUBES)
    assert score["apical_reach_mm"] * 2 == pytest.approx(2.0, abs=EDGE)
    assert (score["canals_found"], score["canals_followed"], score["breaks"]) == (2, 1, 0)


def test_what_is_not_connected_with_the_chamber_reaches_nothing() -> None:
    apical = np.zeros_like(TRUTH)
    apical[:20, :, 6:12] = TRUTH[:20, :, 6:12]  # the last 1.5 mm of one canal
    score = score_tooth(apical | molar({26.0: (6, 56)}), TRUTH, CUBES)
    assert score["breaks"] == 1
    missed = score_tooth(molar({26.0: (6, 56)}), TRUTH, CUBES)
    assert score["apical_reach_mm"] == missed["apical_reach_mm"] > 5


def test_a_missed_canal_counts_with_its_length() -> None:
    score = score_tooth(molar({26.0: (6, 56)}), TRUTH, CUBES)
    assert (score["canals"], score["canals_found"]) == (2, 1)
    assert score["apical_reach_mm"] * 2 == pytest.approx(12, abs=0.6)


def test_a_thin_canal_beside_the_true_one_is_not_found_and_is_false() -> None:
    truth, prediction = molar({14.0: (6, 56)}, 0.5), molar({18.0: (6, 56)}, 0.5)
    score = score_tooth(prediction, truth, CUBES)
    assert (score["canals"], score["canals_found"], score["false_canals"]) == (1, 0, 1)


def test_a_shift_within_the_tolerance_is_found() -> None:
    score = score_tooth(molar({15.0: (6, 56)}, 0.5), molar({14.0: (6, 56)}, 0.5), CUBES)
    assert (score["canals_followed"], score["false_canals"]) == (1, 0)


@pytest.mark.parametrize(("edge", "followed"), [(0.14, 1), (0.16, 0)])
def test_a_canal_three_tenths_of_a_mm_beside_is_found(edge: float, followed: int) -> None:
    truth, shifted = molar({14.0: (6, 56)}, 0.5), molar({16.0: (6, 56)}, 0.5)
    score = score_tooth(shifted, truth, (edge,) * 3)
    assert (score["canals"], score["canals_followed"]) == (1, followed)


def test_a_canal_is_found_by_half_and_followed_by_nine_tenths() -> None:
    def of(covered: float) -> tuple[bool, bool]:
        score = CanalScore(10.0, covered, 0.0, 0)
        return score.is_found, score.is_followed

    assert [of(share) for share in (0.49, 0.5, 0.89, 0.9)] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]


@pytest.mark.parametrize(("end", "canals"), [(45, 1), (47, 0)])
def test_a_canal_is_two_mm_long(end: int, canals: int) -> None:
    """From the chamber at z = 54, in voxels of a quarter of a mm: 2.25 and 1.75 mm."""
    tooth = molar({14.0: (end, 56)}, 0.5)
    assert score_tooth(tooth, tooth, CUBES)["canals"] == canals


@pytest.mark.parametrize(("missing", "breaks"), [(5, 0), (6, 1)])
def test_half_a_mm_without_prediction_is_no_break(missing: int, breaks: int) -> None:
    prediction = np.ones((1, 1, 60))
    prediction[..., 20 : 20 + missing] = 0
    assert score_canal(STRAIGHT, prediction, (0.1,) * 3).breaks == breaks


@pytest.mark.parametrize(("away", "covered"), [(0.29, 1.0), (0.31, 0.0)])
def test_a_line_is_covered_three_tenths_of_a_mm_from_the_prediction(
    away: float, covered: float
) -> None:
    prediction = np.zeros((2, 1, 60))
    prediction[1] = 1
    assert score_canal(STRAIGHT, prediction, (away, 0.1, 0.1)).covered == covered


@pytest.mark.parametrize(("end", "false"), [(31, 0), (32, 1)])
def test_a_canal_of_which_less_than_half_is_true_is_false(end: int, false: int) -> None:
    """Predicted from z = 54 to 6; the tolerance of a voxel counts as true."""
    truth, prediction = molar({14.0: (6, 56), 26.0: (end, 56)}, 0.5), molar(WHOLE, 0.5)
    assert score_tooth(prediction, truth, CUBES)["false_canals"] == false


def test_width_error_has_a_sign() -> None:
    wide = molar(WHOLE, 2.0)
    assert 0.2 < score_tooth(wide, TRUTH, CUBES)["width_error_mm"] < 0.8
    assert -0.8 < score_tooth(TRUTH, wide, CUBES)["width_error_mm"] < -0.2


def test_empty_sides() -> None:
    empty = np.zeros_like(TRUTH)
    missed = score_tooth(empty, TRUTH, CUBES)
    assert (missed["canals"], missed["canals_found"], missed["false_canals"]) == (2, 0, 0)
    assert math.isnan(missed["width_error_mm"])
    both = score_tooth(empty, empty, CUBES)
    assert both["canals"] == both["false_canals"] == 0
    assert math.isnan(both["apical_reach_mm"])
    assert score_tooth(TRUTH, empty, CUBES)["false_canals"] >= 2


def test_a_canal_that_joins_another_is_a_canal() -> None:
    mask = molar({14.0: (6, 56)})
    # From the chamber at x = 24 to the first canal at z = 26.
    for step in range(30):
        x = 24 - 10 * (step / 29) ** 2
        mask |= tube(1.0, (55 - step, 57 - step), (x, 20), mask.shape)
    chamber = find_chamber(mask)
    lines = trace_canals(mask, chamber, EDGE)
    lengths = sorted(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() * EDGE for line in lines)
    assert len(lines) == 2
    assert lengths[0] == pytest.approx(7.5, abs=1.5)
    assert lengths[1] == pytest.approx(12, abs=1)
    for line in lines:
        assert chamber[tuple(line[0])]


def test_spurs_are_no_canals() -> None:
    mask = molar({14.0: (6, 56)})
    mask[14:20, 20, 30] = True
    assert len(trace_canals(mask, find_chamber(mask), EDGE)) == 1


def test_a_loose_piece_is_traced_from_its_end() -> None:
    mask = molar({14.0: (6, 40)})
    (line,) = trace_canals(mask, find_chamber(mask), EDGE)
    assert abs(line[-1, 2] - line[0, 2]) == pytest.approx(32, abs=2)


def test_the_chamber_is_the_wide_part() -> None:
    chamber = find_chamber(TRUTH)
    assert chamber[20, 20, 58]
    assert not chamber[:, :, :50].any()
    assert not find_chamber(np.zeros_like(TRUTH)).any()


@pytest.mark.parametrize("index", [0, 2, 3])
def test_the_canals_of_phantoms_are_counted(index: int) -> None:
    phantom = make_root_canal_phantom(
        index, shape=(54, 54, 66), spacing=(0.3, 0.3, 0.3), neighbors=0
    )
    score = score_tooth(phantom.label, phantom.label, (0.3, 0.3, 0.3))
    assert score["canals"] == score["canals_followed"] == len(phantom.canals)
    for line in phantom.canals.values():
        assert score_canal(line * 0.3, phantom.label, (0.3, 0.3, 0.3)).is_followed


def test_long_voxels() -> None:
    """A grid twice as coarse along the canals sees the same canals."""
    score = score_tooth(TRUTH[:, :, ::2], TRUTH[:, :, ::2], (EDGE, EDGE, 2 * EDGE))
    assert (score["canals"], score["canals_followed"], score["breaks"]) == (2, 2, 0)


def test_pooled_sensitivity_has_the_exact_interval() -> None:
    cases = [
        {"canals": 4.0, "canals_found": 4.0, "false_canals": 1.0},
        {"canals": 6.0, "canals_found": 4.0, "false_canals": 0.0},
    ]
    pooled = pooled_sensitivity(cases)
    # 8 of 10: the textbook interval.
    assert pooled["sensitivity"] == 0.8
    assert pooled["low"] == pytest.approx(0.4439, abs=1e-4)
    assert pooled["high"] == pytest.approx(0.9748, abs=1e-4)
    assert pooled["false_canals_per_tooth"] == 0.5
    every = pooled_sensitivity([{"canals": 5.0, "canals_found": 5.0, "false_canals": 0.0}])
    assert every["high"] == 1
    assert every["low"] == pytest.approx(0.025 ** (1 / 5))
    none = pooled_sensitivity([{"canals": 0.0, "canals_found": 0.0, "false_canals": 0.0}])
    assert math.isnan(none["sensitivity"])
    assert (none["low"], none["high"]) == (0, 1)
