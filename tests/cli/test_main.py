"""The end of a command whose output nobody takes: a closed pipe, a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsemi.cli.main import main

FULL = Path("/dev/full")


def ended(stdout: int, *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a command that writes there."""
    command = [sys.executable, "-m", "medsemi", *map(str, arguments)]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert ended(write, *arguments) == (0, "")
    finally:
        os.close(write)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"]])
def test_output_that_finds_no_room_is_one_sentence(arguments: list[str]) -> None:
    with FULL.open("w") as full:
        code, told = ended(full.fileno(), *arguments)
    assert code == 4
    assert (
        told
        == "medsemi: the output: No space left on device; make room, or choose another place.\n"
    )


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_list_of_cases_that_finds_no_room_is_one_sentence(shared: Path) -> None:
    scan = shared / "data" / "dicom" / "nifti" / "uncompressed.nii"
    with FULL.open("w") as full:
        assert ended(full.fileno(), "inspect", scan, "--json")[0] == 4
        code, told = ended(full.fileno(), "inspect", scan)
    assert code == 4
    assert told.count("\n") == 1


def test_a_refusal_that_nobody_reads_is_a_refusal(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "medsemi", "inspect", str(tmp_path / "nothing")]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=write, check=False)
    finally:
        os.close(write)
    assert done.returncode == 1


def test_a_mistake_of_the_program_is_not_told_as_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lacking(given: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "report.css")

    monkeypatch.setattr("medsemi.cli.methods.run", lacking)
    with pytest.raises(FileNotFoundError, match=r"report\.css"):
        main(["methods"])
