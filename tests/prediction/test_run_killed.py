"""Runs as processes: killed, interrupted, two at once, shards side by side."""

from __future__ import annotations

import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.prediction.lock import hold_folder

SCRIPT = Path(__file__).with_name("fake_run.py")
FAKE = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
contents = runpy.run_path(str(Path(__file__).with_name("case_files.py")))["contents"]
CASES = 10


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = Path(FAKE.write_inputs(tmp_path / "in", CASES))
    (folder / "case03.json").write_text(json.dumps({"fail": "network"}))
    (folder / "case07.json").write_text(json.dumps({"outcome": "refuse", "findings": ["R02"]}))
    return folder


def start(
    inputs: Path, model: Path, out: Path, pause: float = 0.03, shard: str = "1/1"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, SCRIPT, model, out, str(pause), shard, inputs]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, told = process.communicate(timeout=60)
    return process.returncode, told.decode()


def summary(out: Path) -> list[list[str]]:
    rows = [line.split(",") for line in (out / "summary.csv").read_text().splitlines()]
    seconds = rows[0].index("seconds")
    return [[*row[:seconds], *row[seconds + 1 :]] for row in rows]


def wait_for(out: Path, cases: int) -> None:
    deadline = time.monotonic() + 30
    while len(list(out.glob("cases/[!.]*"))) < cases:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)


def works_in(out: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a run has begun with the folder; before, it only imports."""
    with suppress(OSError, ValueError):
        return bool(json.loads((out / ".medsemi-lock").read_text())["pid"] == process.pid)
    return False


def test_eight_kills_change_nothing(tmp_path: Path, inputs: Path, model: Path) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert finish(start(inputs, model, undisturbed))[0] == 2
    expected, moments = contents(undisturbed), random.Random(5)  # noqa: S311  (no secret)
    for _ in range(8):
        process = start(inputs, model, out, pause=0.1)
        while not works_in(out, process) and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 1.0))
        process.kill()
        process.communicate()
        # Whatever has its name is whole and right.
        assert contents(out).items() <= expected.items()
        assert all((f / "case.json").exists() for f in out.glob("cases/[!.]*"))
        if len(list(out.glob("cases/[!.]*"))) == CASES:
            shutil.rmtree(out)
    assert finish(start(inputs, model, out))[0] == 2
    assert contents(out) == expected
    assert summary(out) == summary(undisturbed)
    assert not list((out / "cases").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_valid_summary(
    tmp_path: Path, inputs: Path, model: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start(inputs, model, out, pause=0.3)
    wait_for(out, 2)
    process.send_signal(number)
    began = time.monotonic()
    code, _ = finish(process)
    assert code == 130
    assert time.monotonic() - began < 10
    run = json.loads((out / "run.json").read_text())
    assert run["exit_code"] == 130
    done = [folder.name for folder in sorted(out.glob("cases/[!.]*"))]
    assert 2 <= len(done) < CASES
    assert [row[0] for row in summary(out)[1:]] == done
    assert (out / "report.html").exists()
    assert not list(out.glob(".medsemi*"))
    assert finish(start(inputs, model, out))[0] == 2
    assert len(summary(out)) == CASES + 1


def test_a_case_that_does_not_end_is_dropped(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    process = start(FAKE.write_inputs(tmp_path / "one", 1), model, out, pause=60)
    deadline = time.monotonic() + 30
    while not (out / "run.log").exists() or "1 cases" not in (out / "run.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert finish(process)[0] == 130
    assert time.monotonic() - began < 10
    assert len(summary(out)) == 1


def test_of_two_runs_at_once_the_second_is_refused(
    tmp_path: Path, inputs: Path, model: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with hold_folder(out):
        code, told = finish(start(inputs, model, out))
    assert code == 4
    assert "E11" in told
    assert str(os.getpid()) in told
    assert finish(start(inputs, model, out))[0] == 2
    assert len(summary(out)) == CASES + 1


def test_three_shards_at_once_one_killed_and_run_again(
    tmp_path: Path, inputs: Path, model: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    finish(start(inputs, model, whole))
    shards = [start(inputs, model, out, 0.2, f"{index}/3") for index in (1, 2, 3)]
    wait_for(out, 1)
    shards[0].kill()
    for process in shards:
        process.communicate()
    assert len(contents(out)) < len(contents(whole))
    finish(start(inputs, model, out, shard="1/3"))
    assert contents(out) == contents(whole)
    assert summary(out) == summary(whole)
    one, many = (json.loads((f / "run.json").read_text()) for f in (whole, out))
    for by in ("class", "status", "code"):
        assert many["counts"][by] == one["counts"][by]
    assert not list(out.glob(".medsemi*"))
