"""Evaluation as a stage: what it found before is not lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from medsemi.data.manifest import MANIFEST_TAG
from medsemi.errors import ConfigError
from medsemi.evaluation.protocol import WindowInference
from medsemi.training.checkpoint import save_weights
from medsemi.training.history import History
from medsemi.training.stage import EvaluationStage
from medsemi.training.tracking import Tracker

EDGES = (8, 8, 8)


class Noise:
    """A case in memory."""

    case_id, spacing = "a", (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        self.image = np.random.default_rng(0).random((1, *EDGES), np.float32)
        self.label = np.ones(EDGES, np.uint8)


def stage(folder: Path, digest: str) -> EvaluationStage:
    tracker = Tracker(
        folder / "scores", tracking_uri=str(folder / "mlflow.db"), experiment_name="one",
        run_name="one", stage="evaluate", parameters={}, tags={MANIFEST_TAG: digest},
    )  # fmt: skip
    return EvaluationStage(
        network=nn.Conv3d(1, 2, 1), weights_dir=folder, volumes=[Noise()],
        inference=WindowInference(EDGES), classes={0: "background", 1: "organ"},
        output_dir=folder / "scores", device="cpu", tracker=tracker,
    )  # fmt: skip


def test_scores_of_another_manifest_are_not_overwritten(tmp_path: Path) -> None:
    save_weights(tmp_path / "student.pt", nn.Conv3d(1, 2, 1))
    stage(tmp_path, "first").run()
    before = (tmp_path / "scores" / "run.json").read_text()
    with pytest.raises(ConfigError, match="scores of another manifest; give another --results_dir"):
        stage(tmp_path, "second").run()
    assert (tmp_path / "scores" / "run.json").read_text() == before
    assert set(stage(tmp_path, "first").run()) == {"student"}


def test_an_evaluation_leaves_nothing_of_the_one_before_it(tmp_path: Path) -> None:
    save_weights(tmp_path / "student.pt", nn.Conv3d(1, 2, 1))
    left = tmp_path / "scores" / "extremes" / "worst_b.png"
    for _ in range(2):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"")
        stage(tmp_path, "first").run()
        names = [row.name for row in History(tmp_path / "scores" / "history.csv").read()]
        assert len(names) == len(set(names)) > 0
        assert not left.exists()
