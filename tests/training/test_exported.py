"""What is scored of the networks in a run folder."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from torch import nn

from medsemi.errors import CheckpointError
from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.views import FrequencyViews, OnView
from medsemi.training.checkpoint import save_weights
from medsemi.training.exported import load_deployed, load_exported

VIEWS = FrequencyViews()


def test_snapshots_and_second_names_are_no_results(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 1)
    for name in ("teacher", "student", "average", "model", "snapshot_1", "snapshot_2"):
        save_weights(tmp_path / f"{name}.pt", network)
    assert list(load_exported(tmp_path, network, {}, "cpu")) == ["average", "student", "teacher"]


def test_what_a_kill_left_unfinished_is_no_network(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 1)
    save_weights(tmp_path / "student.pt", network)
    (tmp_path / ".4711.last.pt").write_bytes(b"half")
    assert list(load_exported(tmp_path, network, {}, "cpu")) == ["student"]


def test_snapshots_alone_are_no_finished_training(tmp_path: Path) -> None:
    network = nn.Conv2d(1, 2, 1)
    save_weights(tmp_path / "snapshot_1.pt", network)
    with pytest.raises(CheckpointError, match="finish the training first"):
        load_exported(tmp_path, network, {}, "cpu")


@pytest.mark.parametrize("described", [True, False])
def test_both_students_are_loaded_as_deployed(tmp_path: Path, described: bool) -> None:
    """The bundle of a training describes the pair; that which was trained with, one student."""
    pair = NetworkPair(
        OnView(nn.Conv3d(1, 2, 1), VIEWS, "low"), OnView(nn.Conv3d(1, 2, 1), VIEWS, "high")
    )
    save_weights(tmp_path / "model.pt", pair)
    one = nn.Conv3d(1, 2, 1)
    network = copy.deepcopy(pair) if described else one
    special = (
        {}
        if described
        else {"students": NetworkPair(OnView(one, VIEWS, "low"), OnView(one, VIEWS, "high"))}
    )
    found = load_deployed(network, tmp_path / "model.pt", special)
    assert found.state_dict().keys() == pair.state_dict().keys()
    assert found.first.network.weight.equal(pair.first.network.weight)
    assert found.second.network.weight.equal(pair.second.network.weight)
    assert not found.first.network.weight.equal(found.second.network.weight)


def test_one_network_is_loaded_as_deployed(tmp_path: Path) -> None:
    one, other = nn.Conv3d(1, 2, 1), nn.Conv3d(1, 2, 1)
    save_weights(tmp_path / "model.pt", one)
    assert load_deployed(other, tmp_path / "model.pt", {}).weight.equal(one.weight)
