"""Rounds are read from their folders as they were; no score of the records is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from medsemi.comparison.stage_runs import METRICS

FOLDER = Path(__file__).parents[2] / "benchmarks"
STEPS = 4


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import self_training

    return self_training


def written_rounds(output: Path, validation: list[str], unlabeled: list[str]) -> None:
    """Three finished rounds; Dice grows by 0.1 from round to round."""
    for number in range(3):
        stage = output / f"round_{number}" / "supervised"
        scored = stage / "validation" / f"step_{STEPS:06d}"
        scored.mkdir(parents=True)
        tags = {"medsemi.device": "a CPU", "medsemi.revision": "abc"}
        (stage / "run.json").write_text(json.dumps({"tags": tags}))
        rows = [f"{step},loss,1.0,{10.0 * step}" for step in range(1, STEPS + 1)]
        (stage / "history.csv").write_text("\n".join(["step,name,value,unix_seconds", *rows, ""]))
        dice = 0.5 + number / 10
        cells = ",".join(str(dice) if metric == "dice" else "" for metric in METRICS)
        lines = [f"{case},average,heart,{cells},0" for case in validation]
        header = f"case_id,network,class,{','.join(METRICS)},missed"
        (scored / "cases.csv").write_text("\n".join([header, *lines, ""]))
        if number < 2:
            records = output / f"round_{number}" / "pseudo_label" / "records"
            labels = records.with_name("labels")
            records.mkdir(parents=True)
            labels.mkdir()
            for case in unlabeled:
                label = {
                    "case_id": case, "file": f"{case}.nii.gz", "stability": 0.8,
                    "agreement": {}, "foreground": 1, "origin": {},
                }  # fmt: skip
                (records / f"{case}.json").write_text(json.dumps(label))
                (labels / f"{case}.nii.gz").touch()


def test_a_record_holds_what_the_rounds_were(benchmark: ModuleType, tmp_path: Path) -> None:
    board = benchmark.boards()["cardiac_3"]
    manifest = board.plan(tmp_path, tmp_path).manifest
    unlabeled = [case.case_id for case in manifest.unlabeled]
    validation = [case.case_id for case in manifest.validation]
    written_rounds(tmp_path, validation, unlabeled)
    found = benchmark.record(board, 3, tmp_path)
    assert (found["seed"], found["machine"]) == (3, "a CPU")
    assert [one["steps"] for one in found["rounds"]] == [STEPS] * 3
    assert [one["seconds"] for one in found["rounds"]] == [40] * 3
    half, everything = (one["pseudo_labels"] for one in found["rounds"][1:])
    assert everything == len(unlabeled)
    assert half == pytest.approx(len(unlabeled) / 2, abs=2)
    assert [set(one["dice"].values()) for one in found["rounds"]] == [{0.5}, {0.6}, {0.7}]

    first, second, third = benchmark.table(board, [found])[-3:]
    assert "| 0.500 |" in first
    assert "+0.100" in second
    assert "+0.200" in third
    assert f"| {3 * STEPS} | 2.0 |" in third


def test_a_round_without_a_last_validation_is_refused(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    written_rounds(tmp_path, ["one"], [])
    scored = tmp_path / "round_0" / "supervised" / "validation"
    (scored / f"step_{STEPS:06d}").rename(scored / "step_000002")
    with pytest.raises(ValueError, match="no validation at its last step, 4"):
        benchmark.round_of(tmp_path, 0, {})


def test_the_tables_say_what_the_records_hold(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = benchmark.REPORT.read_text(encoding="utf-8")
    monkeypatch.setattr(benchmark, "REPORT", tmp_path / "report.md")
    benchmark.report()
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == written


def test_wrong_input_is_told_in_words(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--board", "cardiac_3"])
    assert "--dataset" in capsys.readouterr().err
