"""Scores equal the published ones, and a miss is never a reward."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from medsemi.errors import DataError
from medsemi.evaluation.metrics import METRICS, score_case, score_structure, summarize

Mask = npt.NDArray[np.bool_]
PAIRS = (
    "shifted_ball",
    "identical",
    "flat_anisotropic",
    "far_speck_in_prediction",
    "far_speck_in_reference",
    "noise",
    "single_voxels",
    "touching_border",
)
lenient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """Two masks of one shape, 2D or 3D, empty ones included."""
    shape = draw(array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7))
    masks = arrays(np.bool_, shape)
    return draw(masks), draw(masks)


edges = st.floats(0.1, 10.0)


def full_frame_distances(prediction: Mask, reference: Mask, spacing: list[float]) -> list[float]:
    """HD95, ASD, ASSD on the whole volume, without the crop."""
    structure = generate_binary_structure(prediction.ndim, 1)
    surfaces = [mask & ~binary_erosion(mask, structure) for mask in (prediction, reference)]
    maps = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    forth, back = maps[1][surfaces[0]], maps[0][surfaces[1]]
    pooled = np.concatenate([forth, back])
    return [float(np.percentile(pooled, 95)), float(forth.mean()), float(pooled.mean())]


@pytest.mark.parametrize("pair", PAIRS)
def test_scores_equal_the_published_ones(golden: Path, pair: str) -> None:
    with np.load(golden / "metrics_voxel.npz") as stored:
        score = score_structure(stored[f"{pair}/pred"], stored[f"{pair}/ref"], (1.25, 1.25, 10.0))
        order = stored["order"].tolist()
        voxel = dict(zip(order, stored[f"{pair}/voxel"], strict=True))
        mm = dict(zip(order, stored[f"{pair}/mm_1.25_1.25_10"], strict=True))
    expected = {
        "dice": voxel["dice"],
        "jaccard": voxel["jaccard"],
        **{f"{name}_voxel": voxel[name] for name in ("hd95", "asd", "assd")},
        **{f"{name}_mm": mm[name] for name in ("hd95", "asd", "assd")},
    }
    assert set(expected) == set(METRICS)
    assert {name: getattr(score, name) for name in METRICS} == pytest.approx(expected, abs=1e-9)
    assert (score.missed, score.false_alarm, score.absent) == (False, False, False)


def test_golden_file_has_no_pair_that_is_not_tested(golden: Path) -> None:
    with np.load(golden / "metrics_voxel.npz") as stored:
        assert {key.partition("/")[0] for key in stored.files if "/" in key} == set(PAIRS)


def test_three_slices_of_ten_mm_are_thirty_mm() -> None:
    prediction, reference = np.zeros((2, 5, 5, 8), dtype=bool)
    prediction[2, 2, 1] = reference[2, 2, 4] = True
    score = score_structure(prediction, reference, (1.0, 1.0, 10.0))
    assert (score.hd95_mm, score.asd_mm, score.assd_mm) == (30.0, 30.0, 30.0)
    assert (score.hd95_voxel, score.asd_voxel, score.assd_voxel) == (3.0, 3.0, 3.0)


def test_asd_goes_one_way_and_assd_both() -> None:
    prediction, reference = np.zeros((2, 1, 12), dtype=bool)
    prediction[0, 0] = reference[0, 0] = reference[0, 10] = True
    score = score_structure(prediction, reference, (1.0, 1.0))
    assert score.asd_mm == 0.0
    assert score.assd_mm == pytest.approx(10 / 3)


@lenient
@given(pair=pairs(), data=st.data())
def test_crop_and_isotropic_shortcut_change_nothing(
    pair: tuple[Mask, Mask], data: st.DataObject
) -> None:
    prediction, reference = pair
    assume(prediction.any())
    assume(reference.any())
    ndim = prediction.ndim
    isotropic = edges.map(lambda edge: [edge] * ndim)
    spacing = data.draw(st.one_of(isotropic, st.lists(edges, min_size=ndim, max_size=ndim)))
    score = score_structure(prediction, reference, spacing)
    expected = full_frame_distances(prediction, reference, spacing)
    assert [score.hd95_mm, score.asd_mm, score.assd_mm] == pytest.approx(expected, abs=1e-9)
    voxel = full_frame_distances(prediction, reference, [1.0] * ndim)
    assert [score.hd95_voxel, score.asd_voxel, score.assd_voxel] == pytest.approx(voxel, abs=1e-9)


@lenient
@given(pair=pairs())
def test_overlap_is_bounded_and_symmetric(pair: tuple[Mask, Mask]) -> None:
    prediction, reference = pair
    spacing = [1.0, 2.0, 3.0][: prediction.ndim]
    score = score_structure(prediction, reference, spacing)
    swapped = score_structure(reference, prediction, spacing)
    assert 0.0 <= score.jaccard <= score.dice <= 1.0
    assert score.dice == pytest.approx(2 * score.jaccard / (1 + score.jaccard))
    assert (score.dice, score.jaccard) == (swapped.dice, swapped.jaccard)
    assert (score.missed, score.false_alarm) == (swapped.false_alarm, swapped.missed)
    if not score.absent:
        assert score.hd95_mm == pytest.approx(swapped.hd95_mm)
        assert score.assd_mm == pytest.approx(swapped.assd_mm)


@lenient
@given(pair=pairs())
def test_twice_the_spacing_is_twice_the_distance(pair: tuple[Mask, Mask]) -> None:
    prediction, reference = pair
    assume(prediction.any() or reference.any())
    spacing = np.array([1.0, 1.5, 4.0][: prediction.ndim])
    once = score_structure(prediction, reference, spacing.tolist())
    twice = score_structure(prediction, reference, (2 * spacing).tolist())
    for metric in ("hd95", "asd", "assd"):
        assert getattr(twice, f"{metric}_mm") == pytest.approx(2 * getattr(once, f"{metric}_mm"))
        assert getattr(twice, f"{metric}_voxel") == getattr(once, f"{metric}_voxel")
    assert twice.dice == once.dice


@lenient
@given(pair=pairs())
def test_no_distance_exceeds_the_penalty_for_a_miss(pair: tuple[Mask, Mask]) -> None:
    prediction, reference = pair
    assume(prediction.any())
    assume(reference.any())
    spacing = [3.0, 1.0, 0.5][: prediction.ndim]
    found = score_structure(prediction, reference, spacing)
    missed = score_structure(np.zeros_like(prediction), reference, spacing)
    for metric in METRICS[2:]:
        assert getattr(found, metric) < getattr(missed, metric)


@pytest.mark.parametrize("found_by", ["reference", "prediction"])
def test_a_one_sided_structure_costs_the_diagonal(found_by: str) -> None:
    something, nothing = np.zeros((2, 3, 4, 12), dtype=np.uint8)
    something[1, 1, 1] = 1
    sides = (nothing, something) if found_by == "reference" else (something, nothing)
    score = score_structure(*sides, (2.0, 2.0, 2.0))
    assert (score.dice, score.jaccard) == (0.0, 0.0)
    assert {score.hd95_mm, score.asd_mm, score.assd_mm} == {26.0}
    assert {score.hd95_voxel, score.asd_voxel, score.assd_voxel} == {13.0}
    assert (score.missed, score.false_alarm) == (found_by == "reference", found_by == "prediction")
    assert not score.absent


def test_a_structure_that_nobody_has_is_right_and_has_no_distance() -> None:
    score = score_structure(np.zeros((3, 3)), np.zeros((3, 3)), (1.0, 1.0))
    assert (score.dice, score.jaccard, score.absent) == (1.0, 1.0, True)
    assert all(math.isnan(getattr(score, metric)) for metric in METRICS[2:])
    assert (score.missed, score.false_alarm) == (False, False)


def test_classes_are_scored_apart_and_background_is_not() -> None:
    reference = np.zeros((4, 4, 4), dtype=np.uint8)
    reference[0], reference[3] = 1, 2
    prediction = np.where(reference == 2, 0, reference)
    scores = score_case(prediction, reference, {0: "background", 1: "one", 2: "two"}, (1, 1, 1))
    assert list(scores) == ["one", "two"]
    assert (scores["one"].dice, scores["two"].dice) == (1.0, 0.0)
    assert scores["two"].missed


def test_means_keep_every_miss_and_drop_only_what_is_absent() -> None:
    mask = np.zeros((3, 4, 12), dtype=bool)
    mask[1, 1, 1] = True
    empty = np.zeros_like(mask)
    spacing = (1.0, 1.0, 1.0)
    perfect = score_structure(mask, mask, spacing)
    missed = score_structure(empty, mask, spacing)
    absent = score_structure(empty, empty, spacing)
    alarm = score_structure(mask, empty, spacing)
    summary = summarize([{"a": perfect, "b": absent}, {"a": missed, "b": alarm}])
    first, second = summary.classes["a"], summary.classes["b"]
    assert (first.metrics["dice"].mean, first.metrics["dice"].cases) == (0.5, 2)
    assert first.metrics["dice"].sd == pytest.approx(math.sqrt(0.5))
    assert first.metrics["hd95_mm"].mean == 6.5
    assert (first.missed, first.false_alarms, first.absent) == (1, 0, 0)
    assert second.metrics["dice"].mean == 0.5
    assert (second.metrics["hd95_mm"].mean, second.metrics["hd95_mm"].cases) == (13.0, 1)
    assert second.metrics["hd95_mm"].sd is None
    assert (second.missed, second.false_alarms, second.absent) == (0, 1, 1)
    assert summary.overall.metrics["dice"].mean == 0.5
    assert summary.overall.metrics["hd95_mm"].mean == 6.5
    assert (summary.overall.missed, summary.overall.false_alarms, summary.overall.absent) == (
        1,
        1,
        1,
    )


def test_a_miss_makes_every_mean_worse() -> None:
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    good = score_structure(mask, mask, (1, 1, 1))
    missed = score_structure(np.zeros_like(mask), mask, (1, 1, 1))
    before = summarize([{"a": good}] * 3).overall.metrics
    after = summarize([{"a": good}, {"a": good}, {"a": missed}]).overall.metrics
    for metric in METRICS:
        worse = np.less if metric in ("dice", "jaccard") else np.greater
        assert worse(after[metric].mean, before[metric].mean), metric


def test_summary_of_nothing_has_no_means() -> None:
    empty = summarize([]).overall
    assert {asdict(empty)["metrics"][metric]["mean"] for metric in METRICS} == {None}
    mask = np.ones((2, 2), dtype=bool)
    absent = score_structure(~mask, ~mask, (1, 1))
    assert summarize([{"a": absent}]).classes["a"].metrics["hd95_mm"].mean is None


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(DataError, match=r"\(2, 2\).*\(2, 3\)"):
        score_structure(np.zeros((2, 2)), np.zeros((2, 3)), (1, 1))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, math.nan)])
def test_spacing_that_cannot_be_is_named(spacing: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="spacing"):
        score_structure(np.zeros((2, 2)), np.zeros((2, 2)), spacing)


def test_metrics_need_neither_torch_nor_monai() -> None:
    code = (
        "import sys, medsemi.evaluation.metrics; "
        "sys.exit({'torch', 'monai', 'ignite', 'mlflow'} & set(sys.modules) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
