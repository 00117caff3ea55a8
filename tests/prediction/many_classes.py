"""Segments a large volume into many classes and prints the peak memory of the process.

Usage: python many_classes.py FOLDER CLASSES MODE SPACING
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from medsemi.prediction.case import Case, Grid, Source, Volume
from medsemi.prediction.ladder import MODES
from medsemi.prediction.model import load_model
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))
SHAPE = (512, 512, 300)
SPACING = (0.75, 0.75, 1.0)


def blocks(classes: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Every class once, in blocks of about 50 mm, none of them at the border."""
    values = np.zeros(SHAPE, np.float32, order="F")
    places = [
        (x, y, z)
        for z in range(20, 260, 48)
        for y in range(20, 440, 72)
        for x in range(20, 440, 72)
    ]
    for number, (x, y, z) in enumerate(places[: classes - 1], start=1):
        values[x : x + 60, y : y + 60, z : z + 40] = number
    return values


def main(folder: Path, classes: int, mode: int, spacing: float) -> None:
    torch.set_num_threads(1)
    window = {**SMALL.WINDOW, "window": [96, 96, 96], "stride": [96, 96, 96]}
    contract = {"spacing": [spacing] * 3, "orientation": "RAS"}
    SMALL.write_bundle(folder, classes, contract=contract, config={"inferer": window})
    grid = Grid(SHAPE, np.diag([*SPACING, 1.0]))
    source = Source("nifti", "CT", Path("a"), "a", 1)
    case = Case("a", "a", "volume", (), "predict", (), source, grid)
    values = blocks(classes)
    segmenter = Segmenter(load_model(folder), Options(device="cpu"))
    segmenter.modes = (MODES[mode],)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    result = segmenter.segment(case, Volume(values, "", (), ""))
    told = {
        "before_gb": before * 1024 / 1e9,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "seconds": time.perf_counter() - start,
        "stages": dict(result.seconds),
        "mode": result.memory_mode,
        "equal": float((result.labels == values).mean()),
        "classes": len(np.unique(result.labels)),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
