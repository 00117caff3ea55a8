"""Measures of images, their ranges, and the words about what lies outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.prediction.case import Case, Grid, Source, Volume
from medsemi.prediction.model import Intensity, Label, Model
from medsemi.prediction.ranges import (
    WORDS,
    measure_ranges,
    merge_ranges,
    outside_ranges,
    range_findings,
)

AFFINE = np.diag([0.5, 0.7, 3.0, 1.0])


def image(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(100, 20, (40, 30, 20)).astype(np.float32)


def test_measures() -> None:
    measures = measure_ranges(image(), AFFINE)
    assert measures.keys() == WORDS.keys()
    assert measures["spacing_least_mm"] == pytest.approx(0.5)
    assert measures["spacing_greatest_mm"] == pytest.approx(3)
    assert measures["fov_least_mm"] == pytest.approx(20)
    assert measures["fov_greatest_mm"] == pytest.approx(60)
    for name, percent in (
        ("intensity_p0_5", 0.5),
        ("intensity_p50", 50),
        ("intensity_p99_5", 99.5),
    ):
        assert measures[name] == pytest.approx(np.percentile(image(), percent))


def test_large_images_are_sampled_and_measured_alike() -> None:
    large = np.random.default_rng(0).normal(0, 1, (150, 150, 100)).astype(np.float32)
    measured = measure_ranges(large, AFFINE)["intensity_p99_5"]
    assert measured == pytest.approx(np.percentile(large, 99.5), rel=0.02)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    order=st.permutations(range(3)),
    flips=st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
)
def test_axes_may_come_in_any_order(order: list[int], flips: list[int]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = AFFINE[:3, order] * flips
    expected = measure_ranges(image(), AFFINE)
    assert measure_ranges(image().transpose(order), affine) == pytest.approx(expected)


def test_ranges_span_all_images() -> None:
    measured = [measure_ranges(image(seed), AFFINE * (1 + seed)) for seed in range(3)]
    ranges = merge_ranges(measured)
    for name, (least, greatest) in ranges.items():
        values = [one[name] for one in measured]
        assert (least, greatest) == (min(values), max(values))
    for one in measured:
        assert outside_ranges(one, ranges) == []


@pytest.mark.parametrize(
    ("scale", "offset", "factor", "words"),
    [
        (1.0, 0.0, 1.0, []),
        (1.1, 0.0, 1.2, []),
        (1.0, 0.0, 1.5, ["smallest voxel", "largest voxel", "shortest side", "longest side"]),
        (1.0, 0.0, 0.5, ["smallest voxel", "largest voxel", "shortest side", "longest side"]),
        (3.0, 0.0, 1.0, ["darkest", "middle", "brightest"]),
        (1.0, 500.0, 1.0, ["darkest", "middle", "brightest"]),
        (0.001, 0.0, 1.0, ["darkest", "middle", "brightest"]),
    ],
)
def test_what_is_outside_is_said(
    scale: float, offset: float, factor: float, words: list[str]
) -> None:
    ranges = merge_ranges([measure_ranges(image(), AFFINE)])
    measures = measure_ranges(image() * scale + offset, AFFINE * factor)
    found = outside_ranges(measures, ranges)
    assert [next(w for w in words if w in text) for text in found] == words
    assert all("training" in text for text in found)


def case(tags: dict[str, str]) -> tuple[Case, Volume]:
    source = Source("dicom", "CT", Path("a"), "a", 1, tags=tags)
    grid = Grid((40, 30, 20), AFFINE)
    described = Case("a", "a", "volume", (), "predict", (), source, grid)
    return described, Volume(image(), "HU", (), "")


def model(**settings: Any) -> Model:
    return Model(Path("b"), "b", "1", "0", ("CT",), (Label(1, "organ"),), **settings)


def test_findings() -> None:
    ranges = {"fov_greatest_mm": [200.0, 300.0], "intensity_p50": [900.0, 1000.0]}
    (finding,) = range_findings(model(training_ranges=ranges), *case({}))
    assert finding.code == "W16"
    assert "longest side of the image in mm 60 (training 200 to 300)" in finding.text
    assert "middle value" in finding.text
    standardized = Intensity(norm="zscore")
    (finding,) = range_findings(model(training_ranges=ranges, intensity=standardized), *case({}))
    assert "middle value" not in finding.text
    assert range_findings(model(), *case({})) == ()


@pytest.mark.parametrize(
    ("tag", "expected"), [("HEAD", ["W16"]), ("CHEST", []), (" chest ", []), ("", [])]
)
def test_the_body_part_is_compared_where_both_state_one(tag: str, expected: list[str]) -> None:
    findings = range_findings(model(body_part="CHEST"), *case({"body_part": tag}))
    assert [finding.code for finding in findings] == expected
    assert all("HEAD" not in finding.text for finding in findings)  # what a header says stays there
    assert range_findings(model(), *case({"body_part": tag})) == ()
