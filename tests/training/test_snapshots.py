"""Snapshots are the deployed network at their step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from medsemi.errors import ConfigError
from medsemi.training.snapshots import Snapshots


def run(folder: Path, steps: int, rank: int = 0) -> None:
    """An engine whose network counts its steps."""
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)

    def step(engine: Engine, batch: int) -> None:
        with torch.no_grad():
            network.weight += 1

    engine = Engine(step)
    engine.steps = steps
    engine.stream = SimpleNamespace(rank=rank)
    engine.deployed = network
    Snapshots(folder).attach(engine)
    engine.add_event_handler(Events.COMPLETED, lambda: None)
    engine.run(range(steps))


def test_they_are_taken_at_their_steps(tmp_path: Path) -> None:
    run(tmp_path, 9)
    taken = [torch.load(tmp_path / f"snapshot_{i}.pt", weights_only=True) for i in (1, 2)]
    assert [float(weights["weight"]) for weights in taken] == [3, 6]


@pytest.mark.parametrize("steps", [1, 2])
def test_shares_of_the_same_step_give_one_snapshot(tmp_path: Path, steps: int) -> None:
    run(tmp_path, steps)
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot_1.pt"]


def test_only_the_first_rank_writes(tmp_path: Path) -> None:
    run(tmp_path, 9, rank=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 2.0])
def test_a_share_lies_between_start_and_end(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Snapshots("folder", [share])
