"""case.json follows its schema, whatever became of a case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.outputs import record as module
from medsemi.prediction.outputs.record import case_record, write_record
from medsemi.prediction.outputs.write import Written

SCHEMA = json.loads((Path(module.__file__).parent / "case_schema.json").read_text())
WRITTEN = Written(
    outputs=({"file": "seg.nii.gz", "bytes": 10, "sha256": "a" * 64},),
    findings=(),
    volumes=(
        {"label": 1, "name": "left", "volume_ml": 1.5, "touches_border": "none", "voxels": 3},
    ),
    seg_frames=7,
    seconds=0.5,
)


def check(record: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(record)))


@pytest.fixture
def done(
    make_case: Callable[..., Case],
    make_segmentation: Callable[..., Segmentation],
    make_volume: Callable[[Case], Volume],
    make_model: Callable[..., Model],
) -> Callable[..., dict[str, Any]]:
    def make(name: str = "ct_gap_one_missing", **changes: Any) -> dict[str, Any]:
        case = make_case(name)
        options = Options(gaps="fill", **changes)
        # As a network may give them: numbers of NumPy.
        segmentation = replace(
            make_segmentation(case), agreement={"left": np.float32(0.5), "right": None}
        )
        return case_record(
            case,
            "done",
            [Finding("W05", {"k": 1, "after": 10}), Finding("W05", {"k": 1, "after": 10})],
            make_model(),
            options,
            volume=make_volume(case),
            segmentation=segmentation,
            written=WRITTEN,
            fingerprint="f" * 64,
            seconds={"read": 0.1234567, "write": 0.5},
            peak_memory_gb={"cpu": 1.2},
        )

    return make


def test_a_case_that_is_done(done: Callable[..., dict[str, Any]]) -> None:
    record = done()
    check(record)
    assert record["status"] == "done"
    assert record["interpolated_slices"] == [11]
    assert record["codes"] == [
        {
            "code": "W05",
            "text": "1 missing slice was interpolated. Check the result near slice 10.",
            "detail": {"k": 1, "after": 10},
        }
    ]
    assert record["source"]["spacing_mm"] == pytest.approx([3.6094, 3.6094, 5.0], abs=1e-3)
    assert (record["source"]["matrix"], record["source"]["slices"]) == ([64, 64], 28)
    assert (record["source"]["files"], record["source"]["frames"]) == (27, 27)
    assert record["times_s"] == {"read": 0.123, "write": 0.5}
    assert record["peak_memory_gb"] == {"cpu": 1.2, "gpu": None}
    assert record["agreement"] == {"left": 0.5, "right": None}
    assert record["bundle"]["sha256"] == "0123456789abcdef" * 4
    assert record["contains_identifiers"]
    assert record["software"]["pydicom"]
    assert (record["outputs"], record["seg_frames"]) == (list(WRITTEN.outputs), 7)
    assert record["volumes"][0] == {
        "label": 1,
        "name": "left",
        "volume_ml": 1.5,
        "touches_border": "none",
    }


def test_the_distance_of_tilted_slices_is_that_along_the_normal(
    done: Callable[..., dict[str, Any]],
) -> None:
    record = done("ct_tilt_philips")
    check(record)
    assert record["source"]["spacing_mm"][2] == pytest.approx(2.3708, abs=1e-3)
    np.testing.assert_allclose([row[2] for row in record["affine_lps"]], [0, 0, 2.5, 0], atol=1e-3)


def test_how_work_is_shared_out_does_not_show(done: Callable[..., dict[str, Any]]) -> None:
    assert done(workers=1) == done(workers=8, shard=(2, 3), overwrite="all")
    assert done() != done(overlap=0.25)


@pytest.mark.parametrize(
    ("status", "code"), [("refused", "R10"), ("failed", "E01"), ("skipped", "S10")]
)
@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_a_case_without_result(
    make_model: Callable[..., Model], status: str, code: str, kind: Any
) -> None:
    source = Source(kind, "", Path("a/b.nii"), "b.nii", 1)
    case = Case("k", "b", "volume", (), "refuse", (), source)
    record = case_record(
        case, status, [Finding(code, {"why": "no form"})], make_model(), Options(names="hash")
    )
    check(record)
    assert record["affine_lps"] is record["memory_mode"] is None
    assert record["outputs"] == record["volumes"] == []
    assert record["contains_identifiers"]


@pytest.mark.parametrize(
    ("kind", "tags", "options"),
    [
        ("nifti", {}, {"names": "hash"}),  # its number and its place are digests of its path
        ("nifti", {}, {"names": "auto"}),
        ("dicom", {"series_uid": ""}, {}),  # its place is a digest of its folder
        ("dicom", {"series_uid": "1.2"}, {}),
        ("dicom", {}, {"names": "header"}),
        ("dicom", {}, {"series": "1.2.3"}),
    ],
)
def test_it_says_that_it_holds_identifiers(
    make_model: Callable[..., Model],
    kind: Any,
    tags: dict[str, str],
    options: dict[str, Any],
) -> None:
    source = Source(kind, "", Path("b"), "b", 1, tags=tags)
    case = Case("k", "b", "volume", (), "skip", (), source, Grid((2, 2, 2), np.eye(4)))
    record = case_record(case, "skipped", [Finding("S10")], make_model(), Options(**options))
    check(record)
    assert record["contains_identifiers"] is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "almost"),
        ("fingerprint", ""),
        ("outputs", [{"file": "seg.nii.gz"}]),
        ("affine_lps", [[1, 0, 0, 0]]),
        ("codes", [{"code": "X01", "text": "?", "detail": {}}]),
    ],
)
def test_the_schema_refuses_what_is_wrong(
    done: Callable[..., dict[str, Any]], key: str, value: Any
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({**done(), key: value})


def test_the_record_is_written_whole(tmp_path: Path, done: Callable[..., dict[str, Any]]) -> None:
    write_record(tmp_path, done())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["case.json"]
    check(json.loads((tmp_path / "case.json").read_text(encoding="utf-8")))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(tmp_path, {"agreement": float("nan")})
    check(json.loads((tmp_path / "case.json").read_text(encoding="utf-8")))
