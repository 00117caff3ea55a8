"""A bundle whose network assigns each voxel to the class of the nearest brightness; no training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

WINDOW = {
    "_target_": "medsemi.evaluation.protocol.WindowInference",
    "window": [16, 16, 16],
    "stride": [8, 8, 8],
    "weighting": "gaussian",
}
NETWORK = {
    "_target_": "torch.nn.Conv3d",
    "in_channels": 1,
    "out_channels": "@channels",
    "kernel_size": 3,
    "padding": 1,
}
MONAI_WINDOW = {
    "_target_": "monai.inferers.SlidingWindowInferer",
    "roi_size": [16, 16, 16],
    "overlap": 0.5,
    "mode": "gaussian",
}


def brightness_network(classes: int, sharpness: float = 20.0, shift: float = 0.0) -> nn.Conv3d:
    """Brightness 0, 1, 2 … is class 0, 1, 2 …, after smoothing over 3 voxels."""
    network = nn.Conv3d(1, classes, 3, padding=1)
    levels = torch.arange(classes, dtype=torch.float32)
    kernel = torch.full((3, 3, 3), 1 / 27)
    network.weight.data = 2 * sharpness * levels.view(-1, 1, 1, 1, 1) * kernel
    network.bias.data = -sharpness * levels * (levels + 2 * shift)
    return network


def write_bundle(
    folder: Path,
    classes: int = 2,
    *,
    contract: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    weights: Mapping[str, nn.Module] | None = None,
) -> Path:
    """A bundle with `classes` classes, one of them the background.

    Args:
        folder: is made.
        classes: of the network and of the metadata.
        contract: replaces entries of key `medsemi` of the metadata.
        config: replaces nodes of `inference.json`.
        weights: of the files in `models`; by default `model.pt` alone.
    """
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    labels = {str(n): {"name": f"structure {n}"} for n in range(1, classes)}
    described = {"modality": ["CT", "any"], "labels": labels, **(contract or {})}
    metadata = {"version": "0.1.0", "medsemi": described}
    (folder / "configs/metadata.json").write_text(json.dumps(metadata))
    nodes = {"channels": classes, "network_def": NETWORK, "inferer": WINDOW, **(config or {})}
    (folder / "configs/inference.json").write_text(json.dumps(nodes))
    for name, network in (weights or {"model": brightness_network(classes)}).items():
        torch.save(network.state_dict(), folder / f"models/{name}.pt")
    return folder
