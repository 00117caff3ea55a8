"""A run over a folder that has results: what is done stays done, and nobody's file is replaced."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction.codes import RunStopped
from medsemi.prediction.stages import STAGES

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
contents = FAKE.contents
go = FAKE.go
no_network = FAKE.no_network
records = FAKE.records
say = FAKE.say


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


def test_what_somebody_changed_or_added_is_kept(inputs: Path, model: Path, out: Path) -> None:
    go(inputs, model, out)
    (out / "cases" / "case00" / "seg.bin").write_bytes(b"corrected")
    (out / "cases" / "case01" / "notes.txt").write_text("looks right")
    (out / "cases" / "case02" / ".hidden").touch()
    assert go(inputs, model, out)[1].counts == {"already": 3, "done": 1}
    told = go(inputs, model, out, overlap=0.25)[1]
    assert told.counts == {"done": 4}
    kept = {path.name.rsplit("-", 1)[0]: path for path in (out / "kept").iterdir()}
    assert kept.keys() == {"case00", "case01"}
    assert (kept["case00"] / "seg.bin").read_bytes() == b"corrected"
    assert (kept["case01"] / "notes.txt").read_text() == "looks right"
    assert (kept["case01"] / "case.json").is_file()
    (sentence,) = (text for case, _, text in told.lines if case == "case01" and "kept" in text)
    assert f"a file was added: that folder is kept as kept/{kept['case01'].name}." in sentence
    assert "notes" not in (out / "run.log").read_text()


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
        ({"outcome": "refuse", "findings": ["U02"]}, "U02"),
        ({"outcome": "refuse", "findings": ["R09"]}, "R09"),
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


@pytest.mark.parametrize(
    ("scan", "first", "then", "code"),
    [
        ("ct_tilt_philips", {}, {"strict": True}, "R12"),
        ("ct_tilt_philips", {}, {"tilt": "refuse"}, "R03"),
        ("ct_gap_one_missing", {"gaps": "fill"}, {}, "R01"),
        ("ct_uneven_made", {"gaps": "fill"}, {}, "R02"),
    ],
)
def test_a_refusal_by_another_option_keeps_the_earlier_result(
    scan: str, first: Any, then: Any, code: str, shared: Path, model: Path, out: Path
) -> None:
    folder = shared / "data" / "dicom" / scan
    stages = replace(FAKE.make_stages(), discover=STAGES.discover)
    assert go(folder, model, out, stages=stages, **first)[1].counts == {"done": 1}
    before = contents(out)
    for _ in range(2):
        ended, told = go(folder, model, out, stages=stages, **then)
        ((name, _),) = records(out).items()
        assert (ended, told.counts) == (3, {"refused": 1})
        assert code in told.codes(name)
        assert (name, "note", "Its earlier result is kept.") in told.lines
        assert contents(out) == before
    assert go(folder, model, out, stages=stages, **first)[1].counts == {"already": 1}


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
    assert (second, "note", "case01 is the result of another scan.") in told.lines
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


def test_leftovers_of_a_killed_run_are_removed(inputs: Path, model: Path, out: Path) -> None:
    (out / "cases" / ".tmp-case00-77-0a1b2c3d").mkdir(parents=True)
    (out / "cases" / ".tmp-elsewhere-77-0a1b2c3d").mkdir()
    go(inputs, model, out)
    assert not list((out / "cases").glob(".*"))
