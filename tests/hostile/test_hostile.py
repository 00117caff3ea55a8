"""Thousands of damaged files: no crash, no hang, bounded memory, a code for each refusal, and never
another geometry or other voxels than a file holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")
COUNT = int(os.environ.get("MEDSEMI_HOSTILE_MUTANTS", "50000"))
# Of the slow test, unless the number is chosen; `make hostile` makes them all.
SLOW_SECONDS = 8 * 60


def run(shared: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(CAMPAIGN), "--shared", str(shared), *options]
    finished = subprocess.run(command, capture_output=True, check=False)
    assert finished.stdout, finished.stderr.decode()
    return json.loads(finished.stdout)


def test_two_thousand_mutants(shared: Path) -> None:
    tally = run(shared, "--count", "2000")
    assert tally["wrong"] == []
    assert tally["mutants"] == 2000
    assert tally["slowest"] < 10
    # All kinds of files took part, many were read in spite of the damage and many refused.
    assert set(tally["kinds"]) == {"stack", "alone", "nifti", "itk"}
    assert tally["read"] > 500
    assert {"R01", "R07", "R08", "R10", "U01"} <= set(tally["codes"])


def test_each_fault_would_be_found(shared: Path) -> None:
    tally = run(shared, "--count", "48", "--fault", "all", "--patience", "5")
    found = " ".join(verdict["wrong"] for verdict in tally["wrong"])
    for sign in ("ended with -6", "hangs", "VmHWM grew", "values", "affine", "R99"):
        assert sign in found


@pytest.mark.slow
def test_many_mutants(shared: Path) -> None:
    limit = [] if "MEDSEMI_HOSTILE_MUTANTS" in os.environ else ["--seconds", str(SLOW_SECONDS)]
    workers = str(os.cpu_count() or 1)
    tally = run(shared, "--first", "2000", "--count", str(COUNT), "--workers", workers, *limit)
    print({key: tally[key] for key in ("mutants", "seconds", "slowest", "read", "codes")})  # noqa: T201
    assert tally["wrong"] == []
    assert tally["mutants"] >= min(COUNT, 10_000)
