"""The networks that a finished training left in its run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from medsemi.errors import CheckpointError
from medsemi.parts.two_networks import NetworkPair
from medsemi.training.checkpoint import load_weights, weight_names

# Not a network, or one of the others under a second name.
APART = ("last", "best", "model")
# Weights on the way; they are opinions on a pseudo-label and no result of the training.
SNAPSHOT = "snapshot_"


def load_exported(
    folder: str | Path,
    network: nn.Module,
    special: Mapping[str, nn.Module],
    device: torch.device | str,
) -> dict[str, nn.Module]:
    """Load every network that a training ended with, in the order of their names.

    Args:
        folder: the run folder of a training.
        network: the architecture of all but `special`; two of it make a pair of networks.
        special: the architecture of networks that have another one, by name, such as a student
            that is given the plain window and sees its own view of it.
        device: where the networks go.

    Raises:
        CheckpointError: if there is none, or one does not fit its architecture.
    """
    exported = sorted(path for path in Path(folder).glob("*.pt") if path.stem not in APART)
    found = [path for path in exported if not path.stem.startswith(SNAPSHOT)]
    if not found:
        raise CheckpointError(f"{folder} holds no exported network: finish the training first.")
    return {
        path.stem: load_weights(
            copy.deepcopy(special[path.stem]) if path.stem in special else fitting(network, path),
            path,
        ).to(device)
        for path in found
    }


def fitting(network: nn.Module, path: str | Path) -> nn.Module:
    """Return a copy of `network` for the weights in a file: a pair of copies for those of a pair."""
    if not holds_pair(path):
        return copy.deepcopy(network)
    return NetworkPair(copy.deepcopy(network), copy.deepcopy(network))


def holds_pair(path: str | Path) -> bool:
    """Whether a file holds the weights of a `NetworkPair`.

    Raises:
        CheckpointError: if it cannot be read.
    """
    return {name.partition(".")[0] for name in weight_names(path)} == {"first", "second"}
