"""What is read back of a stage, where MLflow does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medsemi.comparison.jobs import Arm
from medsemi.comparison.records import collect
from medsemi.comparison.stage_runs import Tracked, from_folder


def test_a_folder_without_a_run_is_none(tmp_path: Path) -> None:
    assert from_folder(tmp_path) is None


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert Tracked(f"sqlite:///{tmp_path / 'mlflow.db'}", "one").find("evaluate", {}) is None
    assert list(tmp_path.iterdir()) == []


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
