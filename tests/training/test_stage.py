"""Evaluation as a stage: what it found before is not lost."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.data.manifest import MANIFEST_TAG
from medsemi.errors import CheckpointError, ConfigError, MedsemiError
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.supervised import Supervised
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


def stage(folder: Path, digest: str, **options: object) -> EvaluationStage:
    tracker = Tracker(
        folder / "scores", tracking_uri=str(folder / "mlflow.db"), experiment_name="one",
        run_name="one", stage="evaluate", parameters={}, tags={MANIFEST_TAG: digest},
    )  # fmt: skip
    options = {"network": nn.Conv3d(1, 2, 1), "device": "cpu", **options}
    return EvaluationStage(
        weights_dir=folder, volumes=[Noise()], inference=WindowInference(EDGES),
        classes={0: "background", 1: "organ"}, output_dir=folder / "scores",
        tracker=tracker, **options,
    )  # fmt: skip


def test_a_gpu_that_is_not_here_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device is 'cuda:99'; take cpu"):
        stage(tmp_path, "one", device="cuda:99")


def scored(started: EvaluationStage) -> dict[str, float | None]:
    """The Dice of each network; nothing is sent."""
    started.tracker.start = lambda *_: None
    return {name: one.overall.metrics["dice"].mean for name, one in started.run().items()}


def test_distances_that_no_case_has_are_told_as_a_dash(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The only case lacks the organ, and the network finds none."""
    network = nn.Conv3d(1, 2, 1)
    nn.init.zeros_(network.weight)
    network.bias.data = torch.tensor([1.0, 0.0])
    save_weights(tmp_path / "student.pt", network)
    started = stage(tmp_path, "one")
    started.volumes[0].label[:] = 0
    with caplog.at_level(logging.INFO):
        scored(started)
    assert "student: Dice 1.0000, HD95 – mm, ASSD – mm, 0 missed" in caplog.text


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


RESULTS = ("cases.csv", "summary.json", "extremes/worst_b.png")


def test_an_evaluation_that_fails_leaves_no_scores_of_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would stand under its record, and go to MLflow with it."""
    save_weights(tmp_path / "student.pt", nn.Conv3d(1, 2, 1))
    stage(tmp_path, "first").run()
    (tmp_path / "scores" / "extremes").mkdir()
    (tmp_path / "scores" / "extremes" / "worst_b.png").write_bytes(b"")
    sent: list[str] = []
    monkeypatch.setattr(Tracker, "log_file", lambda _, path, *__: sent.append(path.name))
    failing = stage(tmp_path, "first")
    failing.tracker.stage = "again"
    failing.inference = lambda *_: torch.full((1, 2, *EDGES), torch.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        failing.run()
    assert json.loads((tmp_path / "scores" / "run.json").read_text())["stage"] == "again"
    assert not [name for name in RESULTS if (tmp_path / "scores" / name).exists()]
    assert not {"cases.csv", "summary.json"} & set(sent)


@pytest.mark.parametrize("mistake", ["metric", "no cases", "no label"])
def test_an_evaluation_that_is_refused_leaves_the_one_before_it(
    tmp_path: Path, mistake: str
) -> None:
    save_weights(tmp_path / "student.pt", nn.Conv3d(1, 2, 1))
    stage(tmp_path, "first").run()
    folder = tmp_path / "scores"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    asked = {"extra_metrics": ["no_metric"]} if mistake == "metric" else {}
    refused = stage(tmp_path, "first", **asked)
    refused.tracker.stage = "again"
    if mistake == "no cases":
        refused.volumes.clear()
    if mistake == "no label":
        refused.volumes[0].label = None
    with pytest.raises(MedsemiError):
        refused.run()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_the_average_is_scored_and_deployed_where_there_is_one(tmp_path: Path) -> None:
    """The student calls every voxel background, the average calls every voxel organ."""
    answering = nn.Conv3d(1, 2, 1)
    nn.init.zeros_(answering.weight)
    for name, answer in (("student", [1.0, 0.0]), ("average", [0.0, 1.0])):
        answering.bias.data = torch.tensor(answer)
        save_weights(tmp_path / f"{name}.pt", answering)
    started = stage(tmp_path, "first", method=Supervised(nn.Conv3d(1, 2, 1)))
    assert scored(started) == {"student": 0.0, "average": 1.0}
    assert started.tracker.tags["medsemi.deployed"] == "average"
    (tmp_path / "average.pt").unlink()
    started = stage(tmp_path, "first", method=Supervised(nn.Conv3d(1, 2, 1)))
    assert scored(started) == {"student": 0.0}
    assert started.tracker.tags["medsemi.deployed"] == "student"


def test_a_recalibrated_network_is_scored_beside_its_own(tmp_path: Path) -> None:
    """Bright voxels are organ; beside windows of brightness 5, those of 0 to 1 are dark."""
    network = nn.Sequential(nn.BatchNorm3d(1), nn.Conv3d(1, 2, 1, bias=False))
    network[1].weight.data = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)
    save_weights(tmp_path / "student.pt", network)
    windows = Sub(torch.randn(4, 1, 8, 8, 8) + 5.0, None, ())
    stream = dict.fromkeys(range(2), Batch(windows, windows))
    options = {"network": network, "recalibration": stream, "recalibration_steps": 2}
    assert scored(stage(tmp_path, "first", **options)) == {
        "student": 1.0,
        "student_recalibrated": 0.0,
    }
    unknown = stage(tmp_path, "first", recalibrated_networks=("teacher",), **options)
    with pytest.raises(
        ConfigError, match="no network teacher; set it to 0, or name one of student"
    ):
        unknown.run()
