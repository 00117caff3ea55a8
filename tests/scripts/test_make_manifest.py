"""The command that splits a folder, started as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsemi.data.manifest import load_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for patient in range(6):
        for scan in "ab":
            (tmp_path / f"images/p{patient}_{scan}.nii.gz").touch()
            if patient < 5:
                (tmp_path / f"labels/p{patient}_{scan}.nii.gz").touch()
    return tmp_path


def start(repository: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "scripts" / "make_manifest.py"), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    return subprocess.run(
        [*command, "--output", str(folder / "m.json"), "--classes", "organ", *arguments],
        capture_output=True, text=True, check=False, env=environment, cwd=repository,
    )  # fmt: skip


def test_writes_a_split_by_patient_and_a_table(repository: Path, folder: Path) -> None:
    arguments = ("--names-only", "--labeled", "2", "--test", "1", "--validation", "1")
    arguments += ("--patient-prefix", "_")
    result = start(repository, folder, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()[1:5]]
    assert rows == [
        ["labeled", "2", "4"],
        ["unlabeled", "2", "4"],
        ["validation", "1", "2"],
        ["test", "1", "2"],
    ]
    manifest = load_manifest(folder / "m.json")
    assert manifest.classes == {0: "background", 1: "organ"}
    assert "p5" in {case.patient for case in manifest.unlabeled}

    again = start(repository, folder, *arguments)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    replaced = start(repository, folder, *arguments, "--overwrite")
    assert replaced.returncode == 0
    assert load_manifest(folder / "m.json").digest == manifest.digest


def test_doubt_is_one_sentence_and_exit_code_2(repository: Path, folder: Path) -> None:
    result = start(repository, folder, "--labeled", "2")
    assert (result.returncode, result.stdout) == (2, "")
    assert "may be of one patient" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "m.json").exists()


def test_missing_folder(repository: Path, tmp_path: Path) -> None:
    result = start(repository, tmp_path / "absent", "--labeled", "2")
    assert result.returncode == 2
    assert "no such folder" in result.stderr
