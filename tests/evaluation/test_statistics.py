"""Comparisons of methods: by patient, antisymmetric, of the promised coverage."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from medsemi.errors import DataError
from medsemi.evaluation.statistics import (
    bootstrap_interval,
    compare,
    holm,
    paired_difference,
    patient_means,
    rank_methods,
    sign_flip_test,
    student_interval,
)

GENERATOR = np.random.default_rng(0)
OURS, THEIRS = GENERATOR.normal(0.8, 0.1, (12, 3)), GENERATOR.normal(0.78, 0.1, (12, 3))


def as_scores(table: np.ndarray, copies: int = 1) -> dict[int, dict[str, float]]:
    """Cases `p0_0`, `p0_1`, ... of the patients of a table (patients, seeds)."""
    return {
        seed: {f"p{i}_{c}": float(row[seed]) for i, row in enumerate(table) for c in range(copies)}
        for seed in range(table.shape[1])
    }


def patients_of(scores: dict[int, dict[str, float]]) -> dict[str, str]:
    return {case: case.split("_")[0] for values in scores.values() for case in values}


def test_it_is_deterministic_and_antisymmetric() -> None:
    one, again = (paired_difference(OURS, THEIRS, resamples=999, seed=4) for _ in range(2))
    assert one == again
    other = paired_difference(THEIRS, OURS, resamples=999, seed=4)
    assert other.mean == pytest.approx(-one.mean)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))
    assert other.student == pytest.approx((-one.student[1], -one.student[0]))
    assert other.p == pytest.approx(one.p)
    assert paired_difference(OURS, THEIRS, resamples=999, seed=5).interval != one.interval


def test_a_case_that_is_counted_twice_narrows_nothing() -> None:
    single = compare(as_scores(OURS), as_scores(THEIRS), patients_of(as_scores(OURS)), resamples=99)
    twice = as_scores(OURS, 2), as_scores(THEIRS, 2)
    assert compare(*twice, patients_of(twice[0]), resamples=99) == single
    # Taken as patients of their own, the same numbers would promise what they do not hold.
    naive = compare(*twice, {case: case for case in twice[0][0]}, resamples=99)
    assert np.diff(naive.interval) < 0.85 * np.diff(single.interval)


def test_images_of_a_patient_are_averaged_first() -> None:
    scores = {0: {"a_1": 0.2, "a_2": 0.4, "b_1": 0.9}}
    names, table = patient_means(scores, {"a_1": "a", "a_2": "a", "b_1": "b"})
    assert names == ["a", "b"]
    np.testing.assert_allclose(table, [[0.3], [0.9]])


def test_a_patient_without_a_value_is_left_out() -> None:
    nan = float("nan")
    scores = {0: {"a": nan, "b": 1.0, "c": 2.0}, 1: {"a": 1.0, "b": 1.0, "c": 4.0}}
    names, table = patient_means(scores, {c: c for c in "abc"})
    assert names == ["b", "c"]
    assert table.shape == (2, 2)


def test_a_patient_without_a_value_in_one_method_is_left_out_of_both() -> None:
    nan = float("nan")
    ours = {0: {"a": nan, "b": 1.0, "c": 2.0, "d": 3.0}}
    theirs = {0: {"a": 7.0, "b": 0.5, "c": nan, "d": 1.0}}
    found = compare(ours, theirs, {case: case for case in "abcd"}, resamples=99)
    assert (found.patients, found.mean) == (2, 1.25)


def test_other_cases_in_another_seed_are_refused() -> None:
    with pytest.raises(DataError, match="Seed 1"):
        patient_means({0: {"a": 1.0}, 1: {"b": 1.0}}, {"a": "a", "b": "b"})
    with pytest.raises(DataError, match="share no seed"):
        compare({0: {"a": 1.0}}, {1: {"a": 1.0}}, {"a": "a"})
    with pytest.raises(DataError, match="not in the manifest"):
        patient_means({0: {"a": 1.0}}, {})


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds: int) -> None:
    """Nominal 95 %, 20 patients without a difference, 600 times: 93 to 97 %."""
    generator = np.random.default_rng(11)
    covered = 0
    for trial in range(600):
        patient = generator.normal(0, 1, (20, 1))
        differences = patient + generator.normal(0, 0.3, (20, seeds))
        low, high = bootstrap_interval(differences, resamples=300, seed=trial)
        covered += low <= 0 <= high
    assert 558 <= covered <= 582


def every_resample(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of all sets of patients, each with all sets of its seeds."""
    patients, seeds = table.shape
    drawn = [
        (number, row[list(chosen)].mean())
        for number, row in enumerate(table)
        for chosen in product(range(seeds), repeat=seeds)
    ]
    # Those of one patient alone tell nothing.
    sets = [some for some in product(drawn, repeat=patients) if len({one for one, _ in some}) > 1]
    values = np.array(sets)[..., 1]
    errors = values.std(1, ddof=1) / np.sqrt(patients)
    return values.mean(1)[errors > 1e-12], errors[errors > 1e-12]


@pytest.mark.parametrize(
    "table",
    [[[0.3], [1.1], [1.9], [3.2], [6.4]], [[0.1, 1.0], [1.0, 3.2], [2.4, 6.0], [5.0, 12.0]]],
)
def test_an_interval_is_that_of_all_resamples(table: list[list[float]]) -> None:
    """Skewed differences, so that no symmetric interval and no percentiles of the mean come near."""
    differences = np.array(table)
    means, errors = every_resample(differences)
    by_patient = differences.mean(1)
    low, high = np.quantile((means - by_patient.mean()) / errors, [0.025, 0.975])
    error = by_patient.std(ddof=1) / np.sqrt(len(by_patient))
    expected = by_patient.mean() - high * error, by_patient.mean() - low * error
    found = bootstrap_interval(differences, resamples=20_000)
    assert found == pytest.approx(expected, abs=0.3)


def test_seeds_that_agree_change_no_interval() -> None:
    """A resample of one patient alone has the spread of its seeds, which says nothing of patients."""
    generator = np.random.default_rng(1)
    patients = generator.normal(0.03, 0.02, (4, 1))
    seeds = patients + generator.normal(0, 1e-9, (4, 3))
    expected = bootstrap_interval(patients, resamples=2000)
    assert bootstrap_interval(seeds, resamples=2000) == pytest.approx(expected, abs=1e-5)


def test_the_test_holds_its_level() -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(0, 1, (150, 8))
    rejected = sum(sign_flip_test(v, np.zeros(8), resamples=256) < 0.05 for v in values)
    assert rejected <= 150 * 0.05 + 3 * np.sqrt(150 * 0.05 * 0.95)


def test_the_test_is_exact_for_few_patients() -> None:
    """All eight patients gain: 2 of 2^8 flips are as extreme."""
    assert sign_flip_test(np.arange(1.0, 9.0), np.zeros(8)) == pytest.approx(2 / 256)
    assert sign_flip_test(np.ones(4), np.ones(4)) == 1.0


def test_student_agrees_with_scipy() -> None:
    values = OURS[:, 0]
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert student_interval(values) == pytest.approx((expected.low, expected.high))


def test_holm_agrees_with_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_too_few_patients_get_no_interval_and_equal_ones_no_width() -> None:
    assert np.isnan(bootstrap_interval(OURS[:3] - THEIRS[:3])).all()


def test_one_patient_has_a_difference_and_nothing_more() -> None:
    found = paired_difference(np.array([[0.8]]), np.array([[0.6]]))
    assert found.mean == pytest.approx(0.2)
    assert found.p == 1.0
    assert np.isnan([*found.interval, *found.student]).all()
    assert not found.proven
    assert bootstrap_interval(np.full((5, 2), 0.25)) == (0.25, 0.25)


def test_a_difference_is_proven_beyond_the_spread_of_seeds_only() -> None:
    gain = np.linspace(0.04, 0.06, 10)[:, None] * np.ones((1, 3))
    assert paired_difference(gain, 0 * gain, resamples=99).proven
    wide = gain + np.array([-0.2, 0.0, 0.2])
    assert not paired_difference(wide, 0 * wide, resamples=99).proven
    assert not paired_difference(gain[:, :1], 0 * gain[:, :1], resamples=99).proven


def test_ranks_come_from_the_same_patients() -> None:
    tables = {"good": OURS + 0.5, "twin": OURS + 0.5, "bad": OURS - 0.5}
    ranking = rank_methods(tables, resamples=200)
    assert ranking["good"].best == ranking["twin"].best == 0.5
    assert ranking["bad"].best == 0.0
    assert ranking["bad"].ranks == (3, 3)
    assert ranking["good"].ranks == (1, 2)


@pytest.mark.parametrize(("loss", "ranks"), [(1.5, (1, 2)), (0.9, (1, 1))])
def test_a_rank_of_one_resample_in_forty_counts(loss: float, ranks: tuple[int, int]) -> None:
    """Five patients gain 1 and one loses: a loss of 1.5 tips 6 % of resamples, one of 0.9 only 1 %."""
    table = np.array([[-loss], *[[1.0]] * 5])
    assert rank_methods({"ours": table, "zero": 0 * table})["ours"].ranks == ranks
