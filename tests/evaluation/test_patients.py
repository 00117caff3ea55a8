"""Means over patients whose cases are averaged first."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.evaluation.evaluate import evaluate_cases
from medsemi.evaluation.metrics import score_case, summarize, summarize_patients

CLASSES = {0: "background", 1: "ventricle"}


def score(common: int) -> dict:
    """A case whose 4 true voxels are met by `common` of 4 predicted ones: Dice `common` / 4."""
    reference, prediction = np.zeros((2, 8, 2), np.uint8)
    reference[:4, 0] = 1
    prediction[4 - common : 8 - common, 0] = 1
    return score_case(prediction, reference, CLASSES, (1.0, 1.0))


def test_the_cases_of_a_patient_count_once() -> None:
    patients = [[score(4), score(2)], [score(1)]]
    summary = summarize_patients(patients)
    for means in (summary.classes["ventricle"], summary.overall):
        assert means.metrics["dice"].mean == pytest.approx((0.75 + 0.25) / 2)
        assert means.metrics["dice"].sd == pytest.approx(np.std([0.75, 0.25], ddof=1))
        assert means.metrics["dice"].cases == 2
    assert summarize([case for cases in patients for case in cases]).overall.metrics[
        "dice"
    ].mean == pytest.approx(1.75 / 3)


def test_a_copy_of_a_case_does_not_shrink_the_spread() -> None:
    once = summarize_patients([[score(4)], [score(1)]])
    twice = summarize_patients([[score(4), score(4)], [score(1), score(1)]])
    assert once.overall.metrics["dice"] == twice.overall.metrics["dice"]


def test_the_summary_tells_patients_where_they_are_known(tmp_path: Path) -> None:
    label = np.zeros((4, 4, 2), np.uint8)
    label[1:3, 1:3] = 1
    volumes = [
        SimpleNamespace(case_id=name, image=image[None].astype(np.float32), label=label,
                        spacing=(1.0, 1.0, 1.0))
        for name, image in (("p1_a", label), ("p1_b", 1 - label), ("p2_a", label))
    ]  # fmt: skip
    patients = {volume.case_id: volume.case_id[:2] for volume in volumes}

    def inference(image: torch.Tensor, network: nn.Module) -> torch.Tensor:
        return torch.cat([1 - image, image], dim=1)

    networks = {"student": nn.Identity()}
    evaluate_cases(networks, volumes, inference, CLASSES, tmp_path, "cpu", patients=patients)
    summary = json.loads((tmp_path / "summary.json").read_text())
    by_patient = summary["patients"]["student"]["overall"]["metrics"]["dice"]
    assert (by_patient["mean"], by_patient["cases"]) == (0.75, 2)
    by_case = summary["networks"]["student"]["overall"]["metrics"]["dice"]
    assert (by_case["mean"], by_case["cases"]) == (pytest.approx(2 / 3), 3)
    evaluate_cases(networks, volumes, inference, CLASSES, tmp_path, "cpu")
    assert "patients" not in json.loads((tmp_path / "summary.json").read_text())
