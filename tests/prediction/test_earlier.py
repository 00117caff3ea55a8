"""Results of an earlier run are told from files of others, which nothing may overwrite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsemi.prediction.codes import DISCLAIMER
from medsemi.prediction.earlier import foreign_file, holds_results

WHOLE = (1, 1)
MARKS = {
    "run.json": '{\n "schema": "medsemi.run/1"}',
    "run-2-of-3.json": '{\n "schema": "medsemi.run/1"}',
    "run.log": f"{DISCLAIMER}\n2026-01-31T12:00:00Z run starts",
    "run-2-of-3.log": f"{DISCLAIMER[:30]}\n",  # a disk that was full
    "cases/one/case.json": '{\n "schema": "medsemi.case/1"}',
}


def put(out: Path, name: str, text: str = "x") -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(text)


@pytest.mark.parametrize("mark", MARKS)
def test_each_mark_of_an_earlier_run_tells_its_folder(mark: str, tmp_path: Path) -> None:
    for name in ("summary.csv", "report.html", "cases/one/seg.nii.gz"):
        put(tmp_path, name)
    assert not holds_results(tmp_path)
    assert foreign_file(tmp_path, WHOLE) is not None
    put(tmp_path, mark, MARKS[mark])
    assert holds_results(tmp_path)
    assert foreign_file(tmp_path, WHOLE) is None


@pytest.mark.parametrize(
    "name", ["run.json", "run.log", "summary.csv", "report.html", "cases/one/scan.nii", "cases"]
)
def test_a_file_of_others_that_would_be_overwritten_is_named(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)
    assert foreign_file(tmp_path, WHOLE) == str(Path(name).parent if "/" in name else name)


@pytest.mark.parametrize("text", ["{}", '{"schema": "somebody.else/1"}', "", "no JSON"])
def test_a_record_of_others_is_foreign_even_beside_results(text: str, tmp_path: Path) -> None:
    put(tmp_path, "run.log", MARKS["run.log"])
    put(tmp_path, "run.json", text)
    assert foreign_file(tmp_path, WHOLE) == "run.json"
    assert foreign_file(tmp_path, (1, 3)) == "run.json"  # where shards are merged


def test_a_shard_looks_at_its_own_files(tmp_path: Path) -> None:
    put(tmp_path, "run-2-of-3.json", json.dumps({"tags": {}}))
    put(tmp_path, "run.log", "of others")
    assert foreign_file(tmp_path, (1, 3)) is None
    assert foreign_file(tmp_path, (2, 3)) == "run-2-of-3.json"


def test_files_with_other_names_are_nobodys_business(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt")
    put(tmp_path, "train/run.json")
    assert foreign_file(tmp_path, WHOLE) is None
    assert foreign_file(tmp_path / "absent", WHOLE) is None


def test_what_a_killed_run_left_before_its_first_case_is_not_foreign(tmp_path: Path) -> None:
    put(tmp_path, "cases/.tmp-one-77-0a1b2c3d/seg.nii.gz")
    put(tmp_path, "run.log", "")
    put(tmp_path, ".medsemi-lock")
    assert foreign_file(tmp_path, WHOLE) is None
