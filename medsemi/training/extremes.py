"""Pictures of the cases that an evaluation found best, in the middle and worst."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import nn

from medsemi.data.volumes import Volume
from medsemi.evaluation.evaluate import Inference
from medsemi.evaluation.overlay import draw_overlay
from medsemi.evaluation.protocol import labels_from


def extreme_cases(table: Path, network: str) -> dict[str, str]:
    """Name the cases with the highest, the middle and the lowest Dice, averaged over classes.

    Args:
        table: `cases.csv` of an evaluation.
        network: whose scores count.

    Returns:
        `best`, `median` and `worst` -> case; of an even number the lower middle one is the median.
    """
    dice: dict[str, list[float]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["network"] == network:
                dice.setdefault(row["case_id"], []).append(float(row["dice"]))
    order = sorted(dice, key=lambda case: (mean(dice[case]), case))
    return {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}


def draw_extremes(
    folder: Path,
    volumes: Sequence[Volume],
    network: tuple[str, nn.Module],
    inference: Inference,
    device: torch.device,
) -> list[Path]:
    """Draw these cases, once more segmented, into `folder/extremes`.

    Args:
        folder: of an evaluation, with its `cases.csv`.
        volumes: that were scored.
        network: name and network.
        inference: as for `evaluate_cases`.
        device: where the network is.

    Returns:
        The PNG files `<which>_<case>.png`.
    """
    by_name, paths = {volume.case_id: volume for volume in volumes}, []
    for which, case in extreme_cases(folder / "cases.csv", network[0]).items():
        volume = by_name[case]
        image = torch.from_numpy(np.array(volume.image))[None].to(device)
        with torch.inference_mode():
            labels = labels_from(inference(image, network[1].eval()))[0].cpu().numpy()
        path = folder / "extremes" / f"{which}_{case}.png"
        draw_overlay(path, volume, {network[0]: labels}, f"{which}: {case}")
        paths.append(path)
    return paths
