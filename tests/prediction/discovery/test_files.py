"""What is passed over when folders are searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medsemi.data.writing import write_nifti
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
        assert [name for name, _ in scan.ignored] == ["results"]
