"""A bundle with a network of one layer, and a run of it as a process that tests can kill.

Usage: python real_run.py MODEL OUT SHARD INPUT...
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from medsemi.prediction.codes import RunStopped
from medsemi.prediction.console import Silent
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict

CONTRACT: dict[str, Any] = {
    "modality": ["any"],
    "labels": {"1": {"name": "bright"}, "2": {"name": "dark"}},
    "spacing": [3.0, 3.0, 3.0],
    "intensity": {"norm": "zscore"},
}
INFERENCE: dict[str, Any] = {
    "network_def": {
        "_target_": "torch.nn.Conv3d",
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": 3,
        "padding": 1,
    },
    "inferer": {
        "_target_": "monai.inferers.SlidingWindowInferer",
        "roi_size": [64, 64, 16],
        "overlap": 0.25,
        "mode": "gaussian",
    },
}


def write_model(folder: Path) -> Path:
    """A bundle whose network finds what is much brighter or darker than the mean."""
    import torch

    for name, said in {
        "metadata": {"version": "1", "medsemi": CONTRACT},
        "inference": INFERENCE,
    }.items():
        path = folder / "configs" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))
    weight = torch.zeros(3, 1, 3, 3, 3)
    weight[1, 0, 1, 1, 1], weight[2, 0, 1, 1, 1] = 1.0, -1.0
    (folder / "models").mkdir()
    bias = torch.tensor([0.8, 0.0, 0.0])
    torch.save({"weight": weight, "bias": bias}, folder / "models" / "model.pt")
    return folder


def main(model: str, out: str, shard: str, *inputs: str) -> int:
    index, count = map(int, shard.split("/"))
    try:
        options = Options(shard=(index, count), device="cpu")
        return predict([Path(p) for p in inputs], Path(model), Path(out), options, Silent())
    except RunStopped as stop:
        sys.stderr.write(f"{stop}\n")
        return stop.exit_code


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.write(f"heavy: {sorted({'torch', 'monai'} & sys.modules.keys())}\n")
    sys.stderr.flush()
    os._exit(code)
