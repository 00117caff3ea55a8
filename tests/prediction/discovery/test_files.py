"""What is passed over when folders are searched."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsemi.data.writing import write_nifti
from medsemi.prediction.codes import Finding, RunStopped
from medsemi.prediction.discovery.files import find_files
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options


def test_results_of_an_earlier_run_are_no_scans(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4))
    label = tmp_path / "results" / "cases" / "one" / "seg.nii.gz"
    write_nifti(label, np.zeros((8, 8, 8), np.uint8), np.eye(4))
    other = tmp_path / "results" / "run.json"
    other.write_text('{"schema": "somebody.else/1"}')
    assert len(discover([tmp_path], Options()).cases) == 2
    for name in ("run.json", "run-1-of-3.json"):
        other.unlink()
        other = tmp_path / "results" / name
        other.write_text('{\n "schema": "medsemi.run/1"}')
        scan = discover([tmp_path], Options())
        assert [case.source.name for case in scan.cases] == ["scan.nii.gz"]
        assert scan.ignored == (("results", Finding("S14")),)
        named = discover([tmp_path / "results"], Options())
        assert (named.cases, named.ignored) == ((), (("results", Finding("S14")),))
        both = discover([tmp_path / "results", tmp_path], Options())
        assert [case.source.name for case in both.cases] == ["scan.nii.gz"]
    assert len(discover([label], Options()).cases) == 1  # it was asked for by name


@pytest.mark.parametrize("linked", [False, True])
def test_an_input_that_is_neither_file_nor_folder_is_refused(linked: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    place = tmp_path / "pipe"
    if linked:
        place = tmp_path / "link"
        place.symlink_to(tmp_path / "pipe")
    with pytest.raises(RunStopped, match=f"E12 .*{place.name} is neither a file nor a folder"):
        find_files([place])


def test_a_folder_that_may_be_listed_but_not_entered_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its names can be read, and nothing behind them."""
    closed = tmp_path / "closed"
    (closed / "below").mkdir(parents=True)
    (closed / "scan.nii").write_bytes(b"unseen")
    write_nifti(tmp_path / "scan.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4))

    def guard(of: Any) -> Any:
        def guarded(path: Path, *arguments: Any, **named: Any) -> Any:
            if closed in path.parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return of(path, *arguments, **named)

        return guarded

    for name in ("stat", "open"):
        monkeypatch.setattr(Path, name, guard(getattr(Path, name)))
    cases = discover([tmp_path], Options()).cases
    assert {case.source.name: case.codes for case in cases} == {
        "scan.nii.gz": ("W07",),
        "closed/scan.nii": ("U01",),
    }
