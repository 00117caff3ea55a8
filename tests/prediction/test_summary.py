"""summary.csv over all case folders."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from medsemi.prediction.summary import read_records, write_summary


def put(out: Path, case_id: str, **said: Any) -> None:
    folder = out / "cases" / case_id
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps(said))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_line_per_case_and_one_column_per_label(tmp_path: Path) -> None:
    put(
        tmp_path,
        "b",
        status="done",
        **{"class": "volume"},
        source={"modality": "CT", "slices": 30, "spacing_mm": [0.703125, 0.703125, 2.5]},
        codes=[{"code": "W07"}, {"code": "W18"}],
        times_s={"read": 1.25, "network": 2.0},
        volumes=[{"name": "liver", "volume_ml": 1500.5}, {"name": "spleen, left", "volume_ml": 0}],
        seg_frames=28,
    )
    put(tmp_path, "a", status="refused", codes=[{"code": "R01"}], source={"spacing_mm": None})
    put(tmp_path, ".tmp-c-1-2", status="done")
    (tmp_path / "cases" / "empty").mkdir()
    write_summary(tmp_path)
    a, b = rows(tmp_path)
    assert b == {
        "case_id": "b",
        "status": "done",
        "class": "volume",
        "modality": "CT",
        "slices": "30",
        "spacing": "0.7031 x 0.7031 x 2.5",
        "codes": "W07 W18",
        "seconds": "3.2",
        "liver_ml": "1500.5",
        "spleen, left_ml": "0",
        "seg_frames": "28",
    }
    assert (a["case_id"], a["status"], a["codes"], a["liver_ml"]) == ("a", "refused", "R01", "")
    assert [folder.name for folder, _ in read_records(tmp_path)] == ["a", "b"]


def test_an_empty_run_has_a_header(tmp_path: Path) -> None:
    write_summary(tmp_path)
    assert (tmp_path / "summary.csv").read_text().startswith("case_id,status,class,modality")
    assert rows(tmp_path) == []
