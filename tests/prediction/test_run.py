"""A run over many cases: none stops the others, the order is theirs, nothing is given away."""

from __future__ import annotations

import json
import re
import runpy
import socket
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medsemi.data.writing import write_nifti
from medsemi.prediction import run as run_module
from medsemi.prediction.codes import DISCLAIMER, RunStopped
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import STAGES

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
Told = FAKE.Told
contents = FAKE.contents
go = FAKE.go
no_network = FAKE.no_network
records = FAKE.records
say = FAKE.say


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


def test_strict_refuses_warnings(inputs: Path, model: Path, out: Path) -> None:
    say(inputs / "case01.json", findings=["W07"])
    assert go(inputs, model, out)[0] == 0
    code, told = go(inputs, model, out, strict=True)
    assert (code, told.counts) == (2, {"already": 3, "refused": 1})
    assert told.codes("case01") == ["note", "W07", "R12"]
    assert any("W07" in sentence for _, code, sentence in told.lines if code == "R12")
    assert go(inputs, model, out)[1].counts == {"already": 4}


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


def test_nothing_is_written_into_an_input(inputs: Path, model: Path) -> None:
    (inputs / "below").mkdir()
    for given in (inputs, inputs / "below", inputs / "case00.json"):
        with pytest.raises(RunStopped, match="E13"):
            go(given, model, inputs)
    assert not (inputs / "cases").exists()


def test_results_within_an_input_are_no_inputs(inputs: Path, model: Path) -> None:
    out = inputs / "results"
    assert go(inputs, model, out)[1].counts == {"done": 4}
    assert go(inputs, model, out)[1].counts == {"already": 4}
    assert len(records(out)) == 4


def test_files_and_results_that_are_passed_over_are_told_apart(
    tmp_path: Path, inputs: Path, model: Path
) -> None:
    mixed = tmp_path / "mixed"
    write_nifti(mixed / "scan.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4))
    (mixed / "notes.txt").write_text("no image")
    stages = replace(FAKE.make_stages(), discover=STAGES.discover)
    for name, folders in (("first", "1 folder is"), ("second", "2 folders are")):
        go(inputs, model, mixed / name)
        _, told = go(mixed, model, tmp_path / "out", stages=stages)
        assert [line for line in told.lines if line[0] == "-"] == [
            ("-", "S01", "1 file is ignored: no medical images; medsemi inspect names them."),
            (
                "-",
                "S14",
                f"{folders} passed over: results of predict are no scans; medsemi inspect names them.",
            ),
        ]


@pytest.mark.parametrize("name", ["scan.nii.gz", "below/scan.nii.gz", "below/damaged.dcm"])
def test_scans_where_results_would_lie_are_not_left_out_in_silence(
    name: str, inputs: Path, model: Path
) -> None:
    out = inputs / "left"
    scan = out / name
    if scan.suffix == ".gz":
        write_nifti(scan, np.zeros((8, 8, 8), np.float32), np.eye(4))
    else:
        scan.parent.mkdir(parents=True)
        scan.write_bytes(b"no image")
    (out / "notes.txt").write_text("no image")
    before = sorted(out.rglob("*"))
    with pytest.raises(RunStopped) as stop:
        go(inputs, model, out)
    assert (stop.value.finding.code, stop.value.exit_code) == ("E13", 1)
    assert stop.value.finding.text == (
        f"Option error: {out} lies in an INPUT and holds {name}, which would be left out as results are;"
        " choose another --out."
    )
    assert sorted(out.rglob("*")) == before
    assert go(inputs / "case00.json", model, out)[0] == 0  # of which no scan is left out
    assert go(inputs, model, out)[0] == 0  # results of an earlier run lie there by now


def test_links_that_no_search_follows_may_lie_where_results_go(inputs: Path, model: Path) -> None:
    out = inputs / "left"
    out.mkdir()
    (out / "latest").symlink_to(inputs.parent)
    (out / "gone.nii").symlink_to(out / "nowhere")
    assert go(inputs, model, out)[0] == 0


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


def test_a_part_alone_is_no_success_of_the_whole(inputs: Path, model: Path, out: Path) -> None:
    told = []
    for index in (1, 2):
        assert go(inputs, model, out, shard=(index, 2))[0] == 0
        told.append(json.loads((out / "run.json").read_text()))
    assert [run["exit_code"] for run in told] == [2, 0]
    assert [run["shards"]["unfinished"] for run in told] == [[2], []]


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
