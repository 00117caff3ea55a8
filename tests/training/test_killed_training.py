"""Trainings in processes of their own: killed, and shared by two."""

from __future__ import annotations

import os
import runpy
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medsemi.data.phantoms import make_phantoms
from medsemi.training.history import History

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
validation, weights, assert_equal = SMALL.validation, SMALL.weights, SMALL.assert_equal

SCRIPT = Path(__file__).with_name("train_phantoms.py")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms(folder, count=8, shape=(24, 24, 24), labeled=2, validation=1, test=1)
    return folder


def start(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def reported(folder: Path) -> list[tuple[int, str, float]]:
    return sorted(row[:3] for row in History(folder / "history.csv").read())


@pytest.mark.slow
def test_kill_minus_nine_changes_no_bit(tmp_path: Path, phantoms: Path) -> None:
    """Killed twice at random moments, with and without workers; unlabeled labels do not exist."""
    for case in (phantoms / "labels").glob("*"):
        index = int(case.name.split("_")[1].split(".")[0])
        if 2 <= index < 6:
            case.unlink()
    assert start(phantoms, tmp_path / "whole", 30, 0).wait() == 0
    whole = reported(tmp_path / "whole")
    assert [step for step, name, _ in whole if name == "val"] == [3 * n for n in range(1, 11)]
    for workers in (0, 2):
        folder = tmp_path / f"killed{workers}"
        for _ in range(2):
            process = start(phantoms, folder, 30, workers, 0.2)
            seen = (folder / "last.pt").stat().st_mtime_ns if (folder / "last.pt").exists() else 0
            while not (folder / "last.pt").exists() or (
                (folder / "last.pt").stat().st_mtime_ns == seen
            ):
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(secrets.randbelow(1000) / 1000)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (folder / "model.pt").exists()
        assert start(phantoms, folder, 30, 2 - workers).wait() == 0
        assert reported(folder) == whole
        for name in ("student", "teacher", "model"):
            assert_equal(weights(tmp_path / "whole" / f"{name}.pt"), weights(folder / f"{name}.pt"))


@pytest.mark.slow
def test_two_ranks_end_with_equal_weights(tmp_path: Path, phantoms: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [start(phantoms, tmp_path / "run", 6, 0, RANK=str(r), **meeting) for r in (0, 1)]
    try:
        assert [process.wait(300) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    first, second = (weights(tmp_path / f"rank{r}.pt") for r in (0, 1))
    assert_equal(first, second)
    assert start(phantoms, tmp_path / "alone", 6, 0).wait() == 0
    alone = weights(tmp_path / "alone" / "student.pt")
    both = weights(tmp_path / "run" / "student.pt")
    assert any(not torch.equal(alone[key], both[key]) for key in alone)
