"""What a fingerprint tells apart, and what counts as done."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsemi.prediction import ledger
from medsemi.prediction.case import Case, Grid, SliceSource, Source
from medsemi.prediction.ledger import (
    fingerprint,
    geometry_digest,
    is_whole,
    of_shard,
    quick_key,
    read_record,
    same_record,
)
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options

MODEL = Model(Path("bundle"), "bundle", "1", "d1", ("CT",), ())
SOURCE = Source("dicom", "CT", Path("a"), "a", 1, tags={"series_uid": "1.2"})
CASE = Case(
    "key", "c1", "volume", (), "predict", (), SOURCE, Grid((4, 4, 4), np.eye(4)), (0, 1, 2, 3)
)
SLICES = (SliceSource(Path("a"), 0, "1.9", 0.0),)
MOVED = np.eye(4) + np.eye(4, k=3) * 1e-3


@pytest.mark.parametrize(
    ("case", "digest", "model", "options"),
    [
        (CASE, "other", MODEL, Options()),
        (CASE, "v", replace(MODEL, digest="d2"), Options()),
        # The overlap of a bundle is that of its inferer, which nobody knows before it is built.
        (CASE, "v", MODEL, Options(overlap=0.25)),
        (CASE, "v", MODEL, Options(overlap=0.5)),
        (CASE, "v", MODEL, Options(outputs=("nifti",))),
        (replace(CASE, grid=Grid((4, 4, 4), MOVED)), "v", MODEL, Options()),
        (replace(CASE, slice_index=(0, 1, 3)), "v", MODEL, Options()),
        (replace(CASE, source=replace(SOURCE, volume=1)), "v", MODEL, Options()),
        (replace(CASE, source=replace(SOURCE, tags={"series_uid": "1.3"})), "v", MODEL, Options()),
        *(
            (
                replace(CASE, source=replace(SOURCE, tags=SOURCE.tags | {name: "9"})),
                "v",
                MODEL,
                Options(),
            )
            for name in ("study_uid", "frame_of_reference_uid", "carried")
        ),
        (replace(CASE, source=replace(SOURCE, slices=SLICES)), "v", MODEL, Options()),
    ],
)
def test_a_fingerprint_tells_apart(case: Case, digest: str, model: Model, options: Options) -> None:
    assert fingerprint(case, digest, model, options) != fingerprint(CASE, "v", MODEL, Options())


def test_a_new_version_makes_results_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = []
    for version in ("0.1.0", "0.1.9", "0.2.0", "1.1.0"):
        monkeypatch.setattr(ledger, "__version__", version)
        marks.append(fingerprint(CASE, "v", MODEL, Options()))
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3


@pytest.mark.parametrize(
    "options",
    [
        Options(workers=8, overwrite="all", shard=(2, 3), device="cpu", strict=True),
        Options(outputs=("preview", "volumes", "seg", "nifti")),
        Options(gaps="fill", tilt="refuse"),
    ],
)
def test_what_changes_no_result_changes_no_fingerprint(options: Options) -> None:
    assert fingerprint(CASE, "v", MODEL, options) == fingerprint(CASE, "v", MODEL, Options())


def test_a_patient_counts_only_where_a_dicom_object_carries_it() -> None:
    other = replace(CASE, source=replace(SOURCE, tags=SOURCE.tags | {"carried": "9"}))
    for output, differs in (("nifti", False), ("seg", True), ("segmap", True)):
        marks = {
            fingerprint(each, "v", MODEL, Options(outputs=(output,))) for each in (CASE, other)
        }
        assert (len(marks) == 2) is differs


def test_geometry_of_an_unknown_grid() -> None:
    assert geometry_digest(replace(CASE, grid=None)) != geometry_digest(CASE)
    assert len(geometry_digest(CASE)) == 64


# File names that are not UTF-8 hold surrogates.
@given(st.text(min_size=1) | st.just("m\udcfcller"), st.integers(1, 9))
def test_a_case_belongs_to_one_shard(key: str, count: int) -> None:
    case = replace(CASE, key=key)
    assert sum(of_shard(case, (index, count)) for index in range(1, count + 1)) == 1


def test_the_quick_key_sees_every_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text("x")
    slices = tuple(SliceSource(path, 0, "", 0.0) for path in paths)
    case = replace(CASE, source=replace(SOURCE, path=paths[0], slices=slices))
    keys = [quick_key(case, MODEL, Options())]
    assert keys == [quick_key(case, MODEL, Options())]
    os.utime(paths[2], (1, 1))
    keys.append(quick_key(case, MODEL, Options()))
    paths[1].write_text("xy")
    keys.append(quick_key(case, MODEL, Options()))
    keys.append(quick_key(case, MODEL, Options(overlap=0.1)))
    assert len(set(keys)) == 4
    paths[1].unlink()
    assert quick_key(case, MODEL, Options()) == ""


def test_the_quick_key_sees_voxels_beside_a_header(tmp_path: Path) -> None:
    for name in ("scan.mhd", "voxels.raw", "scan.txt"):
        (tmp_path / name).write_text("x")
    source = Source("mha", "", tmp_path / "scan.mhd", "scan.mhd", 2, data=tmp_path / "voxels.raw")
    case = replace(CASE, source=source)
    before = quick_key(case, MODEL, Options())
    (tmp_path / "scan.txt").write_text("other")
    assert quick_key(case, MODEL, Options()) == before
    (tmp_path / "voxels.raw").write_text("other")
    assert quick_key(case, MODEL, Options()) != before


@pytest.mark.parametrize(
    ("record", "whole"),
    [
        ({"status": "done", "outputs": [{"file": "seg", "bytes": 3}]}, True),
        ({"status": "done", "outputs": [{"file": "seg", "bytes": 4}]}, False),
        ({"status": "done", "outputs": [{"file": "absent", "bytes": 3}]}, False),
        ({"status": "done", "outputs": [{"file": "seg"}]}, False),
        ({"status": "done"}, False),
        ({"status": "failed", "outputs": []}, False),
        (None, False),
    ],
)
def test_done_means_that_every_output_is_there(
    tmp_path: Path, record: dict[str, Any] | None, whole: bool
) -> None:
    (tmp_path / "seg").write_text("123")
    assert is_whole(tmp_path, record) is whole


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_damaged_record_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "case.json").write_text(content)
    assert read_record(tmp_path) is None


def test_times_do_not_make_a_record_another() -> None:
    assert same_record({"a": 1, "times_s": {"read": 1}}, {"a": 1, "times_s": {"read": 2}})
    assert same_record({"a": [1]}, {"a": (1,)})
    assert not same_record({"a": 1}, {"a": 2})
    assert not same_record(None, {})
