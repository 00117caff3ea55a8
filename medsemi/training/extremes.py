"""Pictures of the cases that an evaluation found best, in the middle and worst."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from torch import nn

from medsemi.evaluation.evaluate import LabeledVolume, Segment
from medsemi.evaluation.overlay import draw_overlay


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
    volumes: Sequence[LabeledVolume],
    references: Sequence[LabeledVolume],
    network: tuple[str, nn.Module],
    segment: Segment,
) -> list[Path]:
    """Draw these cases as they were scored, once more segmented, into `folder/extremes`.

    Args:
        folder: of an evaluation, with its `cases.csv`.
        volumes: that were scored.
        references: what they were compared with, in the same order; these are drawn.
        network: name and network.
        segment: gives the labels that were scored, see `segmenter`.

    Returns:
        The PNG files `<which>_<case>.png`.
    """
    pairs = {one.case_id: (one, other) for one, other in zip(volumes, references, strict=True)}
    paths = []
    for which, case in extreme_cases(folder / "cases.csv", network[0]).items():
        volume, reference = pairs[case]
        labels = segment(volume, reference, network[1])
        path = folder / "extremes" / f"{which}_{case}.png"
        draw_overlay(path, reference, {network[0]: labels}, f"{which}: {case}")
        paths.append(path)
    return paths
