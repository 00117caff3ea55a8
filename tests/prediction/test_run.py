"""A run over many cases: none stops the others, what is done stays done, nothing is given away."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import runpy
import shutil
import socket
import threading
from collections import Counter, namedtuple
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction import disk, settle
from medsemi.prediction import run as run_module
from medsemi.prediction.codes import DISCLAIMER, RunStopped
from medsemi.prediction.ledger import VOLATILE
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import Stages

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
Usage = namedtuple("Usage", "total used free")


class Told:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []
        self.stages: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.cases = self.looked_at = self.ended = 0

    def files(self, count: int) -> None:
        self.looked_at = count

    def begin(self, cases: int) -> None:
        self.cases = cases

    def stage(self, case_id: str, stage: str) -> None:
        self.stages.append((case_id, stage))

    def part(self, case_id: str, done: float) -> None:
        self.stages.append((case_id, f"{done:.0%}"))

    def say(self, case_id: str, code: str, sentence: str) -> None:
        self.lines.append((case_id, code, sentence))

    def finished(self, case_id: str) -> None:
        self.ended += 1

    def end(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)

    def codes(self, case_id: str) -> list[str]:
        return [code for case, code, _ in self.lines if case == case_id]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(FAKE.write_model(tmp_path / "bundle"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return Path(FAKE.write_inputs(tmp_path / "in", 4))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def say(path: Path, **said: Any) -> None:
    path.write_text(json.dumps(said))


def records(out: Path) -> dict[str, Any]:
    return {p.parent.name: json.loads(p.read_text()) for p in out.glob("cases/*/case.json")}


def contents(out: Path) -> dict[str, Any]:
    """All files of all cases, without what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in (out / "cases").rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        found[name] = path.read_bytes()
        if path.name == "case.json":
            record = json.loads(path.read_text())
            found[name] = {k: v for k, v in record.items() if k not in VOLATILE}
    with (out / "summary.csv").open() as file:
        found["summary"] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return found


def go(
    inputs: Path, model: Path, out: Path, told: Told | None = None, **options: Any
) -> tuple[int, Told]:
    told = told or Told()
    stages: Stages = options.pop("stages", FAKE.make_stages())
    return predict([inputs], model, out, Options(**options), told, stages), told


def no_network(stages: Stages) -> Stages:
    """Stages that must neither read a voxel nor load a network."""

    def fail(*_: Any) -> Any:
        pytest.fail("not needed")

    return replace(stages, read=fail, load=fail, write=fail)


def test_all_cases_are_segmented(inputs: Path, model: Path, out: Path) -> None:
    (inputs / "notes.txt").write_text("no image")
    code, told = go(inputs, model, out)
    assert code == 0
    assert {name: r["status"] for name, r in records(out).items()} == {
        f"case0{n}": "done" for n in range(4)
    }
    assert told.counts == {"done": 4}
    assert (told.cases, told.ended, told.looked_at) == (4, 4, 5)
    assert [stage for case, stage in told.stages if case == "case01"] == [
        "reading",
        "network",
        "100%",
        "writing",
    ]
    assert (out / "report.html").exists()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    run = json.loads((out / "run.json").read_text())
    assert (run["exit_code"], run["device"], run["ignored_files"]) == (0, "cpu", 1)
    assert run["counts"]["status"] == {"done": 4}


def test_one_bad_case_never_stops_the_folder(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "a_skip.json", outcome="skip", findings=["S05"])
    say(inputs / "b_refuse.json", outcome="refuse", findings=["R02"])
    for stage in ("reading", "network", "writing"):
        say(inputs / f"c_{stage}_refused.json", fail=stage, error="refused")
        say(inputs / f"d_{stage}_crash.json", fail=stage)
        say(inputs / f"e_{stage}_memory.json", fail=stage, error="memory")
    code, told = go(inputs, model, out)
    assert code == 2
    assert told.counts == {"done": 4, "skipped": 1, "refused": 4, "failed": 6}
    found = {name: [c["code"] for c in r["codes"]] for name, r in records(out).items()}
    assert found["a_skip"] == ["S05"]
    assert found["b_refuse"] == ["R02"]
    assert found["c_network_refused"] == ["R07"]
    assert found["d_reading_crash"] == ["E05"]
    assert found["d_network_crash"] == ["E02"]
    assert found["d_writing_crash"] == ["E05"]
    assert found["e_writing_memory"] == ["E01"]
    assert [p.name for p in (out / "cases" / "d_writing_crash").iterdir()] == ["case.json"]
    assert told.codes("d_network_crash") == ["E02"]
    assert json.loads((out / "run.json").read_text())["counts"]["status"]["failed"] == 6


def test_a_traceback_is_in_the_log_alone_and_names_nobody(
    inputs: Path, model: Path, out: Path
) -> None:
    for stage in ("reading", "network", "writing"):
        say(inputs / f"x{stage}.json", fail=stage)
    _, told = go(inputs, model, out)
    log = (out / "run.log").read_text()
    assert log.splitlines()[0] == DISCLAIMER
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", x) for x in log.splitlines()[1:])
    assert "ValueError" in log
    assert "fake_run.py" in log
    shown = "\n".join(" ".join(line) for line in told.lines)
    assert "fake_run.py" not in shown
    number = re.search(r"Internal error (\w{8})", shown)
    assert number is not None
    assert number[1] in log
    texts = [path.read_text() for path in out.rglob("*") if path.suffix in (".log", ".json")]
    for secret in ("DOE", "JANE", "113619", "12345678", str(inputs)):
        assert not [text for text in [*texts, shown] if secret in text], secret


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([{"outcome": "refuse"}], 3),
        ([{"outcome": "skip"}], 3),
        ([{"fail": "network"}], 3),
        ([{}, {"outcome": "skip"}], 0),
        ([{}, {"outcome": "refuse"}], 2),
        ([{}, {"fail": "writing"}], 2),
    ],
)
def test_exit_codes(
    tmp_path: Path, model: Path, out: Path, said: list[dict[str, str]], code: int
) -> None:
    (tmp_path / "in").mkdir()
    for number, each in enumerate(said):
        say(tmp_path / "in" / f"{number}.json", **each)
    assert go(tmp_path / "in", model, out)[0] == code


def test_a_second_run_does_nothing(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "skip.json", outcome="skip", findings=["S05"])
    go(inputs, model, out)
    before = {p: (p.read_bytes(), p.stat().st_ino) for p in out.glob("cases/*/*")}
    code, told = go(inputs, model, out, stages=no_network(FAKE.make_stages()))
    assert code == 0
    assert told.counts == {"already": 4, "skipped": 1}
    assert told.codes("case00") == ["S12"]
    assert before == {p: (p.read_bytes(), p.stat().st_ino) for p in out.glob("cases/*/*")}


def test_refused_again_is_left_as_it_is(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "bad.json", fail="reading", error="refused")
    go(inputs, model, out)
    record = out / "cases" / "bad" / "case.json"
    inode = record.stat().st_ino
    assert go(inputs, model, out)[0] == 2
    assert record.stat().st_ino == inode


def test_files_that_only_look_new_are_read_once(inputs: Path, model: Path, out: Path) -> None:
    go(inputs, model, out)
    before = contents(out)
    for path in inputs.iterdir():
        os.utime(path, (1, 1))
    network = FAKE.Network(0)
    _, told = go(inputs, model, out, stages=FAKE.make_stages(network=network))
    assert (told.counts, network.seen) == ({"already": 4}, [])
    after = contents(out)
    for name in before:
        if name.endswith("case.json"):
            assert before[name].pop("quick_key") != after[name].pop("quick_key")
    assert before == after
    assert go(inputs, model, out, stages=no_network(FAKE.make_stages()))[0] == 0


def test_a_changed_input_a_damaged_output_and_other_options_are_redone(
    inputs: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    say(inputs / "case01.json", seed=99)
    (out / "cases" / "case02" / "seg.bin").write_bytes(b"half")
    (out / "cases" / "case03" / "case.json").write_text("{")
    _, told = go(inputs, model, out)
    assert told.counts == {"already": 1, "done": 3}
    assert go(inputs, model, out, overlap=0.25)[1].counts == {"done": 4}
    (model / "models" / "model.pt").write_bytes(b"other weights")
    assert go(inputs, model, out, overlap=0.25)[1].counts == {"done": 4}


def test_overwrite_never_and_all(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "case03.json", fail="network")
    go(inputs, model, out)
    for number in range(4):
        say(inputs / f"case0{number}.json", seed=number + 10)
    before = contents(out)
    code, told = go(inputs, model, out, overwrite="never")
    assert (code, told.counts) == (2, {"already": 3, "failed": 1})
    assert contents(out) == before
    assert go(inputs, model, out)[1].counts == {"done": 4}
    assert go(inputs, model, out, overwrite="all")[1].counts == {"done": 4}


def test_a_case_that_is_not_selected_keeps_its_result(inputs: Path, model: Path, out: Path) -> None:
    go(inputs, model, out)
    say(inputs / "case01.json", outcome="skip", findings=["S10"])
    assert go(inputs, model, out)[1].counts == {"already": 3, "skipped": 1}
    assert records(out)["case01"]["status"] == "done"
    say(inputs / "case01.json", outcome="refuse", findings=["R02"])
    go(inputs, model, out)
    assert records(out)["case01"]["status"] == "refused"
    assert not (out / "cases" / "case01" / "seg.bin").exists()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"outcome": "refuse", "findings": ["U01"]}, "U01"),
        ({"outcome": "refuse", "findings": ["W07", "U01"]}, "U01"),
        ({"fail": "network", "error": "too_large"}, "R11"),
        ({"fail": "network", "error": "memory"}, "E01"),
        ({"fail": "network"}, "E02"),
        ({"fail": "reading"}, "E05"),
        ({"fail": "reading", "error": "refused"}, ""),
        ({"outcome": "refuse", "findings": ["U01", "R02"]}, ""),
    ],
)
def test_a_repeat_that_cannot_be_done_keeps_the_earlier_result(
    said: dict[str, Any], code: str, inputs: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    before = records(out)["case01"]
    say(inputs / "case01.json", **said)
    ended, told = go(inputs, model, out)
    assert ended == 2
    assert told.counts["already"] == 3
    assert (records(out)["case01"] == before) == bool(code)
    assert (out / "cases" / "case01" / "seg.bin").exists() == bool(code)
    kept = ("case01", "note", "Its earlier result is kept.")
    assert (kept in told.lines) == bool(code)
    assert (f"case case01 {kept[2]}" in (out / "run.log").read_text()) == bool(code)
    assert not code or code in told.codes("case01")


def test_strict_refuses_warnings(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "case01.json", findings=["W07"])
    assert go(inputs, model, out)[0] == 0
    code, told = go(inputs, model, out, strict=True)
    assert (code, told.counts) == (2, {"already": 3, "refused": 1})
    assert told.codes("case01") == ["W07", "R12"]
    assert any("W07" in sentence for _, code, sentence in told.lines if code == "R12")
    assert go(inputs, model, out)[1].counts == {"already": 3, "done": 1}


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_order_and_bytes_do_not_depend_on_workers(
    tmp_path: Path, inputs: Path, model: Path, out: Path, workers: int
) -> None:
    go(inputs, model, out)
    network = FAKE.Network(0)
    stages = FAKE.make_stages(network=network)
    go(inputs, model, tmp_path / "other", workers=workers, stages=stages)
    assert network.seen == [f"case0{n}" for n in range(4)]
    assert contents(out) == contents(tmp_path / "other")


def test_the_network_is_not_loaded_for_nothing(inputs: Path, model: Path, out: Path) -> None:
    for path in inputs.iterdir():
        say(path, outcome="skip")
    assert go(inputs, model, out, stages=no_network(FAKE.make_stages()))[0] == 3


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


def test_nothing_to_do_is_told(tmp_path: Path, model: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    for inputs in (tmp_path / "in", tmp_path / "absent", tmp_path / ("x" * 300)):
        with pytest.raises(RunStopped) as stop:
            go(inputs, model, out)
        assert (stop.value.finding.code, stop.value.exit_code) == ("E12", 1)
        assert inputs.name in stop.value.finding.text


def test_a_folder_without_images_is_named_but_not_in_the_log(
    tmp_path: Path, model: Path, out: Path
) -> None:
    """A folder may be called as a patient is; the log is what people send around."""
    for name in ("DOE_JANE", "letters"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("no image")
    inputs = [tmp_path / "DOE_JANE", tmp_path / "letters"]
    with pytest.raises(RunStopped) as stop:
        predict(inputs, model, out, Options(), Told(), FAKE.make_stages())
    assert "MetaImage file is in DOE_JANE, letters; name " in stop.value.finding.text
    log = (out / "run.log").read_text()
    assert "E12" in log
    assert "DOE" not in log


def test_a_model_that_is_none(inputs: Path, tmp_path: Path, out: Path) -> None:
    with pytest.raises(RunStopped, match="E10"):
        go(inputs, tmp_path / "absent", out)
    assert not out.exists()


def test_nothing_is_written_into_an_input(inputs: Path, model: Path) -> None:
    (inputs / "below").mkdir()
    for given in (inputs, inputs / "below", inputs / "case00.json"):
        with pytest.raises(RunStopped, match="E13"):
            go(given, model, inputs)
    assert not (inputs / "cases").exists()


@pytest.mark.parametrize("name", ["run.json", "run.log", "summary.csv", "report.html"])
def test_files_of_others_are_not_overwritten(
    name: str, inputs: Path, model: Path, out: Path
) -> None:
    """Such as those of a training or of a comparison."""
    out.mkdir()
    (out / name).write_text('{"run_id": "of a training"}')
    with pytest.raises(RunStopped) as stop:
        go(inputs, model, out)
    assert (stop.value.finding.code, stop.value.exit_code) == ("E13", 1)
    assert stop.value.finding.text == (
        f"Option error: {out} holds {name}, which no earlier run of predict wrote; choose another"
        " --out."
    )
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        name: '{"run_id": "of a training"}'
    }


def test_folders_that_others_call_cases_are_not_replaced(
    inputs: Path, model: Path, out: Path
) -> None:
    (out / "cases" / "case00").mkdir(parents=True)
    (out / "cases" / "case00" / "scan.nii").write_text("a scan")
    with pytest.raises(RunStopped, match=r"E13 .* holds cases/case00, which"):
        go(inputs, model, out)
    assert (out / "cases" / "case00" / "scan.nii").read_text() == "a scan"


def test_other_files_may_lie_beside_results(inputs: Path, model: Path, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert go(inputs, model, out)[0] == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_a_run_that_was_killed_before_its_record_goes_on(
    inputs: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    for name in ("run.json", "report.html"):
        (out / name).unlink()
    assert go(inputs, model, out)[1].counts == {"already": 4}


def test_results_within_an_input_are_no_inputs(inputs: Path, model: Path) -> None:
    out = inputs / "results"
    assert go(inputs, model, out)[1].counts == {"done": 4}
    assert go(inputs, model, out)[1].counts == {"already": 4}
    assert len(records(out)) == 4


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


def test_a_file_of_the_same_name_replaces_no_result(
    inputs: Path, tmp_path: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    before = contents(out)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(inputs / "case00.json", other / "case00.json")  # as if it were moved
    say(other / "case01.json", seed=99)
    say(other / "case02.json", fail="reading", error="refused")
    say(other / "case03.json", outcome="skip", findings=["S05"])
    code, told = go(other, model, out)
    assert (code, told.counts) == (2, {"already": 1, "done": 1, "refused": 1, "skipped": 1})
    after = contents(out)
    assert before["cases/case00/case.json"].pop("quick_key") != after["cases/case00/case.json"].pop(
        "quick_key"
    )
    assert {name: after[name] for name in before if name != "summary"} == {
        name: each for name, each in before.items() if name != "summary"
    }
    second, third = sorted(set(records(out)) - {f"case0{n}" for n in range(4)})
    assert re.fullmatch(r"case01_[0-9a-f]{6}", second)
    assert records(out)[second]["status"] == "done"
    assert re.fullmatch(r"case02_[0-9a-f]{6}", third)
    assert (second, "note", "case01 is the result of another file.") in told.lines
    assert told.codes("case00") == ["S12"]
    (other / "case02.json").unlink()
    _, told = go(other, model, out, stages=no_network(FAKE.make_stages()))
    assert told.counts == {"already": 2, "skipped": 1}
    assert told.codes(second) == ["S12"]
    say(other / "case01.json", seed=100)
    go(other, model, out)
    assert sorted(records(out)) == sorted([*(f"case0{n}" for n in range(4)), second, third])


def test_a_result_that_tells_no_place_is_replaced_as_ever(
    inputs: Path, tmp_path: Path, model: Path, out: Path
) -> None:
    go(inputs, model, out)
    for name, record in records(out).items():
        place = record.pop("place")
        assert re.fullmatch(r"[0-9a-f]{64}", place)
        (out / "cases" / name / "case.json").write_text(json.dumps(record))
    FAKE.write_inputs(tmp_path / "other", 1, seed=99)
    assert go(tmp_path / "other", model, out)[1].counts == {"done": 1}
    assert len(records(out)) == 4


def test_two_results_of_one_name_are_none(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "CASE00.json", seed=9)
    with pytest.raises(RunStopped, match=r"E13 .*two scans would both be called CASE00;"):
        go(inputs, model, out)
    assert records(out) == {}


def test_a_broken_report_is_told_and_changes_no_result(
    inputs: Path, model: Path, out: Path
) -> None:
    def report(out: Path) -> None:
        raise KeyError("x")

    code, told = go(inputs, model, out, stages=replace(FAKE.make_stages(), report=report))
    assert code == 0
    assert told.codes("-") == ["E03"]
    assert (out / "summary.csv").exists()


@pytest.mark.parametrize(("code", "said"), [("E11", []), ("E15", ["E03"])])
def test_only_another_shard_excuses_from_the_report(
    code: str,
    said: list[str],
    inputs: Path,
    model: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hold(path: Path) -> Any:
        raise RunStopped(code, 4, out="out", why="No space left on device", host="h", pid=1)

    monkeypatch.setattr(run_module, "hold", hold)
    ended, told = go(inputs, model, out)
    assert ended == 0
    assert told.codes("-") == said
    assert not said or "(No space left on device)" in told.lines[-1][2]


def test_leftovers_of_a_killed_run_are_removed(inputs: Path, model: Path, out: Path) -> None:
    (out / "cases" / ".tmp-case00-77-0a1b2c3d").mkdir(parents=True)
    (out / "cases" / ".tmp-elsewhere-77-0a1b2c3d").mkdir()
    go(inputs, model, out)
    assert not list((out / "cases").glob(".*"))


def test_shards_share_a_folder(tmp_path: Path, inputs: Path, model: Path, out: Path) -> None:
    FAKE.write_inputs(inputs, 9)
    say(inputs / "case04.json", outcome="refuse", findings=["R02"])
    whole = tmp_path / "whole"
    assert go(inputs, model, whole)[0] == 2
    codes = [go(inputs, model, out, shard=(index, 3))[0] for index in (1, 2, 3)]
    assert set(codes) <= {0, 2}
    assert 2 in codes
    assert contents(out) == contents(whole)
    one, many = (json.loads((f / "run.json").read_text()) for f in (whole, out))
    assert many["counts"] == one["counts"]
    assert many["exit_code"] == 2
    assert (out / "run-2-of-3.log").exists()


def test_a_shard_without_cases_is_no_failure(inputs: Path, model: Path, out: Path) -> None:
    codes = Counter(go(inputs, model, out, shard=(index, 40))[0] for index in range(1, 41))
    assert codes == {0: 40}
    assert len(records(out)) == 4


def test_no_connection_is_opened(
    inputs: Path, model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert go(inputs, model, out)[0] == 0


def test_it_runs_outside_the_main_thread(inputs: Path, model: Path, out: Path) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(go(inputs, model, out)[0]))
    thread.start()
    thread.join()
    assert codes == [0]


def test_the_command_line_is_told_without_paths(inputs: Path, model: Path, out: Path) -> None:
    go(inputs, model, out, series="liver of DOE", strict=True, outputs=("nifti", "volumes"))
    text = (out / "run.json").read_text()
    run = json.loads(text)
    assert run["argv"] == [
        "predict", "--series", "selected", "--outputs", "nifti,volumes", "--strict",
    ]  # fmt: skip
    assert "DOE" not in text
    assert str(inputs) not in text
