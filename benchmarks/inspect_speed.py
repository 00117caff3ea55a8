"""How long `medsemi inspect` takes for 2,000 DICOM files, as a process of its own.

Usage: python benchmarks/inspect_speed.py [--files N]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from medsemi.data.dicom_series import write_dicom_series

SLICES, EDGE, REPEATS = 200, 128, 5


def measure(folder: Path) -> tuple[float, float, int]:
    """Seconds on the clock, seconds of computing, and cases that would be predicted."""
    command = [sys.executable, "-m", "medsemi", "inspect", str(folder), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    out = subprocess.run(command, check=True, capture_output=True).stdout
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, spent, int(json.loads(out)["totals"]["predict"])


def main() -> None:
    """Write series, inspect them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(given.files // SLICES):
            values = np.random.default_rng(number).integers(0, 4000, (EDGE, EDGE, SLICES))
            write_dicom_series(folder / str(number), values, np.eye(4), f"series {number}")
        runs = sorted(measure(folder) for _ in range(REPEATS))
    text = (
        "# Speed of `medsemi inspect`\n\n"
        f"{datetime.date.today()}, {platform.machine()} CPU, {os.cpu_count()} cores, load average"
        f" {os.getloadavg()[0]:.1f}; {given.files // SLICES} series of {SLICES} slices of {EDGE}×{EDGE};"
        f" {REPEATS} runs, files in the page cache; written by `python benchmarks/inspect_speed.py`.\n\n"
        "| | least | median | most |\n|---|---|---|---|\n"
    )
    for row, name in ((0, "seconds"), (1, "CPU seconds")):
        column = sorted(run[row] for run in runs)
        text += f"| {name} | {column[0]:.1f} | {column[REPEATS // 2]:.1f} | {column[-1]:.1f} |\n"
    text += f"\n{runs[0][2]} series would be predicted.\n"
    sys.stdout.write(text)
    given.output.write_text(text)


if __name__ == "__main__":
    main()
