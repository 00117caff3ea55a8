"""What is scored of the networks in a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from medsemi.errors import CheckpointError
from medsemi.training.checkpoint import save_weights
from medsemi.training.exported import load_exported


def test_snapshots_and_second_names_are_no_results(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 1)
    for name in ("teacher", "student", "average", "model", "snapshot_1", "snapshot_2"):
        save_weights(tmp_path / f"{name}.pt", network)
    assert list(load_exported(tmp_path, network, {}, "cpu")) == ["average", "student", "teacher"]


def test_snapshots_alone_are_no_finished_training(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 1)
    save_weights(tmp_path / "snapshot_1.pt", network)
    with pytest.raises(CheckpointError, match="finish the training first"):
        load_exported(tmp_path, network, {}, "cpu")
