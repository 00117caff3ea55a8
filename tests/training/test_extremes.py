"""The best, the median and the worst case of an evaluation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medsemi.data.volumes import Volume
from medsemi.training.extremes import draw_extremes, extreme_cases


def a_table(folder: Path, dice: dict[str, list[float]]) -> Path:
    path = folder / "cases.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case_id", "network", "class", "dice"))
        for case, values in dice.items():
            for number, value in enumerate(values):
                writer.writerow((case, "teacher", number, value))
                writer.writerow((case, "student", number, 1 - value))
    return path


def test_classes_are_averaged_and_the_named_network_counts(tmp_path: Path) -> None:
    table = a_table(tmp_path, {"a": [0.9, 0.1], "b": [0.8, 0.8], "c": [0.1, 0.2], "d": [0.6, 0.6]})
    assert extreme_cases(table, "teacher") == {"best": "b", "median": "a", "worst": "c"}
    assert extreme_cases(table, "student") == {"best": "c", "median": "d", "worst": "b"}


def test_one_case_is_all_three(tmp_path: Path) -> None:
    table = a_table(tmp_path, {"a": [0.5]})
    assert extreme_cases(table, "teacher") == dict.fromkeys(("best", "median", "worst"), "a")


def test_pictures_are_named_by_what_they_show(tmp_path: Path) -> None:
    a_table(tmp_path, {"a": [0.9], "b": [0.5], "c": [0.1]})
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    label = (image[0] > 0).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "label.npy", label)
    files = tmp_path / "image.npy", tmp_path / "label.npy"
    volumes = [Volume(name, *files, np.eye(4)) for name in "abc"]
    network = nn.Conv3d(1, 2, 1)

    def inference(images: torch.Tensor, net: nn.Module) -> torch.Tensor:
        return net(images).softmax(1)

    chosen = ("teacher", network)
    paths = draw_extremes(tmp_path, volumes, chosen, inference, torch.device("cpu"))
    assert [path.name for path in paths] == ["best_a.png", "median_b.png", "worst_c.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
