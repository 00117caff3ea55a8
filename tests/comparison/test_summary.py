"""Rows and words of a comparison, from records whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from medsemi.comparison.curves import draw_curves
from medsemi.comparison.equal_time import at_time, gain_in_the_same_minutes, shortest
from medsemi.comparison.report import scores_table, time_table
from medsemi.comparison.summary import (
    Spread,
    Summary,
    probability,
    summarize,
    values,
    verdict,
)
from medsemi.evaluation.statistics import Difference

PATIENT_OF = {f"v{number}": f"v{number}" for number in range(6)}


@pytest.fixture
def records(arms, tmp_path: Path) -> list:
    plan = arms.a_plan(tmp_path, seeds=(0, 1, 2))
    gains = {"supervised": 0.0, "bcp": 0.1, "fixmatch": -0.1}
    # The seeds of a method differ by 0.01, those of a pair in nothing.
    return [
        arms.a_record(plan, method, seed, 0.7 + gain + 0.01 * seed)
        for method, gain in gains.items()
        for seed in (0, 1, 2)
    ]


def test_rows_are_means_over_seeds(records) -> None:
    summary = summarize(records, "validation", PATIENT_OF)
    assert [row.method for row in summary.rows] == ["supervised", "bcp", "fixmatch"]
    twin, bcp, fixmatch = summary.rows
    assert twin.scores["dice"].mean == pytest.approx(0.735)
    assert twin.scores["dice"].sd == pytest.approx(0.01)
    assert bcp.difference.mean == pytest.approx(0.1)
    assert bcp.difference.better == bcp.difference.patients == 6
    # Two methods are compared, so each p is doubled; exact: 2 of 2^6 flips.
    assert bcp.difference.p == pytest.approx(2 / 64)
    assert bcp.p == fixmatch.p == pytest.approx(4 / 64)
    assert (bcp.ranking.best, bcp.ranking.ranks) == (1.0, (1, 1))
    assert fixmatch.ranking.ranks == (3, 3)
    assert bcp.verdict.startswith("Yes, taken alone: Dice +0.100")
    assert fixmatch.verdict.startswith("No, it did harm, taken alone: Dice -0.100")
    assert "never sees" in twin.verdict
    assert (summary.patients, summary.cases) == (6, 6)


def test_images_of_one_patient_do_not_count_as_patients(records) -> None:
    two = {case: f"p{number // 2}" for number, case in enumerate(PATIENT_OF)}
    summary = summarize(records, "validation", two)
    assert (summary.patients, summary.cases) == (3, 6)
    assert summary.rows[1].difference.patients == 3


def test_missed_structures_are_counted(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    cases = {**dict.fromkeys(PATIENT_OF, 0.5), "v1": 0.0, "v4": 0.0}
    scores = {"validation": {"student": arms.scores(cases, ("atrium", "ventricle"))}}
    record = arms.a_record(plan, "bcp", 0, 0.5, scores=scores)
    row = summarize([record], "validation", PATIENT_OF).rows[0]
    assert row.missed.mean == 4
    shown = [scores_table(Summary((replace(row, missed=Spread.of(counts)),))).rows[0] for counts in (
        [4.0], [0.0, 0.0, 1.0], [2.0, 2.0],
    )]  # fmt: skip
    assert [cells[7] for cells in shown] == ["4", "0.3 ± 0.6", "2"]


def test_a_false_alarm_of_one_seed_stays_in_its_mean(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    records = []
    for seed, distance in ((0, None), (1, 200.0)):
        cases = arms.scores(dict.fromkeys(PATIENT_OF, 0.5))
        cases["v0"]["organ"]["hd95_mm"] = distance
        scores = {"validation": {"student": cases}}
        records.append(arms.a_record(plan, "bcp", seed, 0.5, scores=scores))
    row = summarize(records, "validation", PATIENT_OF).rows[0]
    assert row.scores["hd95_mm"].mean == pytest.approx((5.0 + (200 + 5 * 5.0) / 6) / 2)
    assert row.scores["dice"].mean == 0.5


def test_a_small_probability_is_not_zero() -> None:
    assert [probability(p, "= ") for p in (0.0004, 0.0005, 0.05)] == [
        "< 0.001",
        "= 0.001",
        "= 0.050",
    ]
    assert "p < 0.001 after Holm" in verdict(A_GAIN, 0.0001)


def test_without_a_twin_nothing_is_claimed(records) -> None:
    rows = summarize([r for r in records if r.method == "bcp"], "validation", PATIENT_OF).rows
    assert rows[0].difference is None
    assert rows[0].verdict.startswith("Cannot be told")
    assert summarize(records, "test", PATIENT_OF).rows == ()


def test_classes_and_other_networks_stand_below(arms, records) -> None:
    cases = arms.scores(dict.fromkeys(PATIENT_OF, 0.5), ("atrium", "ventricle"))
    cases["v0"]["atrium"] = {"dice": 1.0, "jaccard": 1.0, "hd95_mm": None, "assd_mm": None}
    both = [
        replace(r, scores={"validation": {"student": cases, "teacher": cases}}) for r in records
    ]
    summary = summarize(both, "validation", PATIENT_OF)
    assert [row.structure for row in summary.classes[:2]] == ["atrium", "ventricle"]
    assert {row.network for row in summary.others} == {"teacher"}
    # A case's value is the mean of its classes, for distances of those that have one.
    assert values(both[:1], "validation", "dice")[0]["v0"] == 0.75
    assert values(both[:1], "validation", "hd95_mm")[0]["v0"] == 5.0
    assert math.isnan(values(both[:1], "validation", "hd95_mm", structure="atrium")[0]["v0"])


A_GAIN = Difference(0.05, (0.02, 0.08), (0.01, 0.09), 0.01, 10, 3, 0.01, 9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Yes: Dice +0.050 against"),
        ({"mean": -0.05, "interval": (-0.08, -0.02)}, "No, it did harm"),
        ({"interval": (-0.01, 0.08)}, "Not shown.*the interval holds 0"),
        ({"seed_sd": 0.06}, r"Not shown.*the seeds differ by as much \(SD 0.060\)"),
        ({"seeds": 1, "seed_sd": math.nan}, "Not shown.*1 seed; with one seed"),
        ({"interval": (math.nan, math.nan)}, "Not shown.*too few patients"),
    ],
)
def test_words_say_what_the_numbers_allow(change: dict, words: str) -> None:
    import re

    assert re.match(words.replace("+", r"\+"), verdict(replace(A_GAIN, **change), 0.02))


def test_what_may_be_chance_among_many_methods_is_said_so() -> None:
    words = verdict(A_GAIN, 0.2)
    assert words.startswith("Yes, taken alone: Dice +0.050")
    assert words.endswith("among all the methods shown it may be chance.")


def test_equal_time_reads_the_last_validation_until_then(records) -> None:
    slow = [
        replace(r, seconds=30.0, curve=tuple(replace(p, seconds=10 * p.seconds) for p in r.curve))
        if r.method == "bcp"
        else r
        for r in records
    ]
    assert shortest(slow) == 3.0
    twin, bcp, fixmatch = at_time(slow, 3.0)
    assert (twin.dice.mean, twin.steps) == (pytest.approx(0.71), Spread(30, 0.0))
    assert bcp.seeds == 0
    assert math.isnan(bcp.dice.mean)
    assert fixmatch.difference.mean == pytest.approx(-0.1)
    twin, bcp, _ = at_time(slow, 10.0)
    # The twin had ended before, which its time says.
    assert (twin.seconds.mean, bcp.seconds.mean, bcp.steps.mean) == (3.0, 10.0, 10)
    assert bcp.difference.mean == pytest.approx(0.81 / 3 - 0.71)
    assert math.isnan(twin.difference.mean)


def test_a_training_whose_time_is_unknown_is_not_compared_by_the_clock(records) -> None:
    unknown = [
        replace(r, seconds=None, curve=tuple(replace(p, seconds=None) for p in r.curve))
        if r.method == "bcp"
        else r
        for r in records
    ]
    assert shortest(unknown) == 3.0
    _, bcp, fixmatch = at_time(unknown, 3.0)
    assert (bcp.seeds, fixmatch.seeds) == (0, 3)
    assert "Left out are 3 of bcp: their time cannot" in time_table(3.0, [bcp, fixmatch]).note
    assert "Left out" not in time_table(3.0, [fixmatch]).note
    of_bcp = next(r for r in unknown if r.method == "bcp")
    assert gain_in_the_same_minutes(of_bcp, records[0]) is None
    assert gain_in_the_same_minutes(records[0], of_bcp) is None
    rows = summarize(unknown, "validation", PATIENT_OF).rows
    assert [math.isnan(row.seconds.mean) for row in rows] == [False, True, False]
    assert draw_curves(unknown)


def test_the_clock_compares_trainings_of_one_machine(records) -> None:
    other = [replace(r, machine="slower") if r.method == "bcp" else r for r in records]
    _, bcp, fixmatch = at_time(other, 3.0)
    assert math.isnan(bcp.difference.mean)
    assert fixmatch.difference.mean == pytest.approx(-0.1)
