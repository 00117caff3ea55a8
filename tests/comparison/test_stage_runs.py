"""What is read back of a stage: of which run, and where MLflow does not answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from medsemi.comparison.jobs import Arm
from medsemi.comparison.records import collect
from medsemi.comparison.stage_runs import TRAINING_TAG, Tracked, from_folder
from medsemi.training.tracking import Tracker


def test_a_folder_without_a_run_is_none(tmp_path: Path) -> None:
    assert from_folder(tmp_path) is None


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert Tracked(f"sqlite:///{tmp_path / 'mlflow.db'}", "one").find("evaluate", {}) is None
    assert list(tmp_path.iterdir()) == []


def test_of_several_trainings_the_latest_that_fits_is_found(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for training in ("a", "b", ""):
        tags = {TRAINING_TAG: training} if training else {}
        tracker = Tracker(
            tmp_path / f"of {training}", tracking_uri=address, experiment_name="one",
            run_name=training, stage="bcp", parameters={"seed": 0}, tags={**tags, "is": training},
        )  # fmt: skip
        tracker.start()
        tracker.log({"loss": 1.0}, 1)
        tracker.finish("FINISHED")
    tracked, seed = Tracked(address, "one"), {"seed": "0"}
    assert tracked.find("bcp", {"seed": "1"}) is None
    assert tracked.find("bcp", seed).tags["is"] == ""
    # Runs of earlier versions do not tell whose they are.
    assert tracked.find("bcp", seed, "a").tags["is"] == ""
    MlflowClient(address).delete_run(_run_id(tmp_path / "of "))
    assert tracked.find("bcp", seed).tags["is"] == "b"
    assert tracked.find("bcp", seed, "a").tags["is"] == "a"
    assert tracked.find("bcp", seed, "c") is None


def _run_id(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["run_id"]


def test_a_server_that_is_away_is_asked_once_and_folders_are_read(
    arms, tmp_path: Path, told: Callable[[str], list[str]]
) -> None:
    plan = arms.a_plan(tmp_path, tracking_uri="http://127.0.0.1:9")
    tracked = Tracked(plan.tracking, plan.experiment)
    assert collect(plan, Arm("bcp", 0), tracked) is None
    arms.write_arm(plan, Arm("bcp", 0))
    record, _ = collect(plan, Arm("bcp", 0), tracked)
    assert record.steps == 20
    (message,) = told("medsemi.comparison.stage_runs")
    assert "MLflow does not answer" in message
