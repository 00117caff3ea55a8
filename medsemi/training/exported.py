"""The networks that a finished training left in its run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from medsemi.atomic import whole_files
from medsemi.errors import CheckpointError
from medsemi.parts.two_networks import NetworkPair
from medsemi.training.checkpoint import load_weights, weight_names

# Not a network, or one of the others under a second name.
APART = ("last", "best", "model")
# Both students of a method with views, each on its own view, as one network.
STUDENTS = "students"
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
    return {
        path.stem: load_weights(fitting(network, path, special), path).to(device)
        for path in some_exported(folder)
    }


def some_exported(folder: str | Path) -> list[Path]:
    """The files of the networks of a finished training, as `exported`.

    Raises:
        CheckpointError: if there is none.
    """
    found = exported(folder)
    if not found:
        raise CheckpointError(f"{folder} holds no exported network: finish the training first.")
    return found


def exported(folder: str | Path) -> list[Path]:
    """The files of the networks that trainings left in a folder, by name."""
    paths = [path for path in whole_files(folder, "*.pt") if path.stem not in APART]
    return [path for path in paths if not path.stem.startswith(SNAPSHOT)]


def load_deployed(
    network: nn.Module, path: str | Path, special: Mapping[str, nn.Module]
) -> nn.Module:
    """Load the network that a training deploys, also where it is both of its students.

    Args:
        network: its architecture, or that of each student.
        path: `model.pt`.
        special: as for `load_exported`.

    Raises:
        CheckpointError: if the file cannot be read, or fits none of them.
    """
    described = network.state_dict().keys() == weight_names(path)
    fits = network if described else fitting(network, Path(path), special)
    return load_weights(fits, path)


def fitting(network: nn.Module, path: Path, special: Mapping[str, nn.Module]) -> nn.Module:
    """Return a network for the weights in a file; arguments as for `load_exported`."""
    paired = holds_pair(path)
    # An average, or the deployed network, may be that of both students under another name.
    name = STUDENTS if paired and sees_views(path) else path.stem
    if name in special:
        return copy.deepcopy(special[name])
    copied = copy.deepcopy(network)
    return NetworkPair(copied, copy.deepcopy(network)) if paired else copied


def holds_pair(path: str | Path) -> bool:
    """Whether a file holds the weights of a `NetworkPair`.

    Raises:
        CheckpointError: if it cannot be read.
    """
    return {name.partition(".")[0] for name in weight_names(path)} == {"first", "second"}


def sees_views(path: str | Path) -> bool:
    """Whether a file holds the weights of a pair whose networks see a view (`OnView`) each.

    Raises:
        CheckpointError: if it cannot be read.
    """
    return all(name.split(".")[1] == "network" for name in weight_names(path))
