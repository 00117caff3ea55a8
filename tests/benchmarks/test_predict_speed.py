"""The benchmark of prediction runs and fills its tables; what it measures is never asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_small_volumes_go_through_every_way(tmp_path: Path, repository: Path) -> None:
    output = tmp_path / "speed.md"
    command = [sys.executable, "benchmarks/predict_speed.py", "--small", "--output", str(output)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = output.read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    workflows = [row for row in rows if row[0].strip() in ("medsemi", "MONAI workflow")]
    assert len([row for row in workflows if len(row) == 10]) == 6
    numbers = [float(cell) for row in workflows for cell in row[1:]]
    assert all(number >= 0 for number in numbers)
    assert text.count("Equal labels") == 3
    assert "| nnunet | 20 | not measured |" in text
