"""The best, the median and the worst case of an evaluation."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.data.volumes import Volume
from medsemi.evaluation.evaluate import LabeledVolume, segmenter
from medsemi.training import extremes
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


def three_volumes(folder: Path) -> list[Volume]:
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    np.save(folder / "image.npy", image)
    np.save(folder / "label.npy", (image[0] > 0).astype(np.uint8))
    files = folder / "image.npy", folder / "label.npy"
    return [Volume(name, *files, np.eye(4)) for name in "abc"]


def inference(images: torch.Tensor, network: nn.Module) -> torch.Tensor:
    result: torch.Tensor = network(images).softmax(1)
    return result


def test_pictures_are_named_by_what_they_show(tmp_path: Path) -> None:
    a_table(tmp_path, {"a": [0.9], "b": [0.5], "c": [0.1]})
    volumes = three_volumes(tmp_path)
    segment = segmenter(inference, torch.device("cpu"), None, None, 2)
    chosen = ("teacher", nn.Conv3d(1, 2, 1))
    paths = draw_extremes(tmp_path, volumes, volumes, chosen, segment)
    assert [path.name for path in paths] == ["best_a.png", "median_b.png", "worst_c.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_what_is_drawn_is_what_was_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_table(tmp_path, {"a": [0.9], "b": [0.5], "c": [0.1]})
    volumes = three_volumes(tmp_path)
    references = [replace(volume, affine=2 * np.eye(4)) for volume in volumes]
    drawn: list[tuple[float, int]] = []

    def remember(path: Path, volume: Volume, labels: dict[str, np.ndarray], title: str) -> None:
        drawn.append((volume.spacing[0], int(labels["teacher"].max())))

    monkeypatch.setattr(extremes, "draw_overlay", remember)

    def sevens(
        probabilities: torch.Tensor, volume: LabeledVolume, reference: LabeledVolume
    ) -> np.ndarray:
        assert (volume.spacing[0], reference.spacing[0]) == (1.0, 2.0)
        return np.full(reference.image.shape[1:], 7, np.uint8)

    segment = segmenter(
        inference, torch.device("cpu"), None, lambda labels: labels + 1, 2, decision=sevens
    )
    draw_extremes(tmp_path, volumes, references, ("teacher", nn.Conv3d(1, 2, 1)), segment)
    assert drawn == [(2.0, 8)] * 3
