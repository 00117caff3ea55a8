"""What breaks under a run, a disk, a model, a lock, is told, and costs no result that was written."""

from __future__ import annotations

import errno
import json
import os
import runpy
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction import disk, settle
from medsemi.prediction import run as run_module
from medsemi.prediction.codes import RunStopped

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
contents = FAKE.contents
go = FAKE.go
records = FAKE.records
say = FAKE.say
Usage = namedtuple("Usage", "total used free")


def test_a_network_that_cannot_be_loaded_is_a_model_error(
    inputs: Path, model: Path, out: Path
) -> None:
    say(inputs / "a.json", outcome="refuse")

    def load(*_: Any) -> Any:
        raise RuntimeError("size mismatch for conv")

    with pytest.raises(RunStopped) as stop:
        go(inputs, model, out, stages=replace(FAKE.make_stages(), load=load))
    assert (stop.value.finding.code, stop.value.exit_code) == ("E10", 1)
    assert records(out) == {}
    assert "size mismatch" in (out / "run.log").read_text()


def test_a_model_that_is_none(inputs: Path, tmp_path: Path, out: Path) -> None:
    with pytest.raises(RunStopped, match="E10"):
        go(inputs, tmp_path / "absent", out)
    assert not out.exists()


@pytest.mark.parametrize("below", [".", "out"])
def test_an_output_folder_that_cannot_be_made(inputs: Path, model: Path, below: str) -> None:
    """A file is there, or on the way to it."""
    out = model / "models" / "model.pt" / below
    with pytest.raises(RunStopped) as stop:
        go(inputs, model, out)
    assert (stop.value.finding.code, stop.value.exit_code) == ("E15", 4)
    assert stop.value.finding.text == (
        f"Output folder {out} cannot be written (Not a directory). Choose another --out, or see to it"
        " that files can be written there."
    )


def test_a_full_disk_stops_the_run_but_keeps_what_is_done(
    inputs: Path, model: Path, out: Path
) -> None:
    say(inputs / "case02.json", fail="writing", error="disk")
    code, told = go(inputs, model, out)
    assert code == 2
    assert sorted(records(out)) == ["case00", "case01"]
    assert told.codes("-") == ["E04"]
    run = json.loads((out / "run.json").read_text())
    assert (run["exit_code"], run["stopped_by"], run["cases"]) == (2, "E04", 4)
    assert len((out / "summary.csv").read_text().splitlines()) == 3
    assert not list((out / "cases").glob(".*"))
    shutil.rmtree(out)
    say(inputs / "case00.json", fail="writing", error="disk")
    assert go(inputs, model, out)[0] == 3


def test_the_disk_is_looked_at_before(
    inputs: Path, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10, 10, 10))
    with pytest.raises(RunStopped, match=r"E04 Disk full: 0\.0 GB are free") as stop:
        go(inputs, model, out)
    assert stop.value.exit_code == 4
    assert records(out) == {}
    run = json.loads((out / "run.json").read_text())
    assert (run["exit_code"], run["stopped_by"], run["cases"]) == (4, "E04", 4)
    assert (out / "report.html").exists()


def test_a_model_that_breaks_in_mid_run_is_told(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "case02.json", fail="network", error="stopped")
    with pytest.raises(RunStopped, match="E10"):
        go(inputs, model, out)
    run = json.loads((out / "run.json").read_text())
    assert (run["exit_code"], run["stopped_by"], run["cases"]) == (1, "E10", 4)
    assert (out / "report.html").read_text().splitlines() == sorted(records(out))
    assert not (out / ".medsemi-reserve").exists()
    say(inputs / "case02.json")
    go(inputs, model, out)
    run = json.loads((out / "run.json").read_text())
    assert (run["exit_code"], run["stopped_by"], run["cases"]) == (0, "", 4)


def test_a_disk_that_is_full_of_quota(inputs: Path, model: Path, out: Path) -> None:
    def write(*_: Any) -> Any:
        raise ValueError("from a library") from OSError(errno.EDQUOT, "Disk quota exceeded")

    assert go(inputs, model, out, stages=replace(FAKE.make_stages(), write=write))[0] == 3


@pytest.mark.parametrize(
    ("number", "code", "ended"), [(errno.ENOSPC, "E04", 2), (errno.EACCES, "E03", 2)]
)
def test_a_folder_that_cannot_be_made_fails_one_case(
    number: int,
    code: str,
    ended: int,
    inputs: Path,
    model: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = settle.new_folder

    def new_folder(cases: Path, case_id: str) -> Path:
        if case_id == "case02":
            raise OSError(number, os.strerror(number), str(cases))
        return make(cases, case_id)

    monkeypatch.setattr(settle, "new_folder", new_folder)
    result, told = go(inputs, model, out)
    assert result == ended
    assert code in told.codes("-" if code == "E04" else "case02")
    assert {"case00", "case01"} <= set(records(out))
    assert ("case03" in records(out)) == (code == "E03")


def test_a_result_stands_though_its_record_cannot_be_refreshed(
    inputs: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    before = contents(out)
    for path in inputs.iterdir():
        os.utime(path, (1, 1))

    def write_record(folder: Path, record: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stages = replace(FAKE.make_stages(), write_record=write_record)
    code, told = go(inputs, model, out, stages=stages)
    assert (code, told.counts) == (0, {"already": 4})
    assert contents(out) == before


def test_a_lost_lock_stops_the_run(inputs: Path, model: Path, out: Path) -> None:
    class Thief(FAKE.Network):  # type: ignore[misc,name-defined]
        def segment(self, *arguments: Any) -> Any:
            held[0].lost.set()
            return super().segment(*arguments)

    held: list[Any] = []
    check = run_module.Held.check

    def remember(self: Any) -> None:
        held[:] = [self]
        check(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.Held, "check", remember)
        with pytest.raises(RunStopped) as stop:
            go(inputs, model, out, stages=FAKE.make_stages(network=Thief(0)))
    assert (stop.value.finding.code, stop.value.exit_code) == ("E11", 4)
    assert len(records(out)) <= 1


def test_a_broken_report_is_told_and_changes_no_result(
    inputs: Path, model: Path, out: Path
) -> None:
    def report(out: Path) -> None:
        raise KeyError("x")

    code, told = go(inputs, model, out, stages=replace(FAKE.make_stages(), report=report))
    assert code == 0
    assert told.codes("-") == ["E03"]
    assert (out / "summary.csv").exists()
