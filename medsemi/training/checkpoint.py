"""One file that holds a training, written whole or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import EventEnum
from torch import Tensor, nn

from medsemi.atomic import write_atomically
from medsemi.errors import CheckpointError
from medsemi.networks.weights_file import not_weights, read_saved


class CheckpointEvents(EventEnum):
    """What a trainer tells of its checkpoints."""

    BEFORE = "before_checkpoint"


def save_checkpoint(
    path: str | Path, state: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Write a training state; the file before it stands until this one is complete.

    Args:
        path: the checkpoint file.
        state: state dicts and plain values.
        settings: what the training was started with; compared when it is continued.
    """
    with write_atomically(path) as temporary:
        _save({**state, "settings": _canonical(settings)}, temporary)


def load_checkpoint(path: str | Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a training state to the CPU; None if there is none yet.

    Networks and optimizers copy it to where they are. On a GPU it would lie there twice, and the step
    counters of AdamW would stay there, which the optimizer reads in each step.

    Args:
        path: the checkpoint file.
        settings: of the training that wants to continue.

    Raises:
        CheckpointError: if the file cannot be read, or was made with other settings.
    """
    path = Path(path)
    if not path.is_file():
        return None
    state: dict[str, Any] = dict(read_saved(path))
    stored = json.loads(state.pop("settings", "{}"))
    current = json.loads(_canonical(settings))
    differing = sorted(k for k in stored.keys() | current.keys() if stored.get(k) != current.get(k))
    if differing:
        changes = "; ".join(f"{k} was {stored.get(k)}, is {current.get(k)}" for k in differing)
        msg = f"{path} belongs to other settings ({changes}): take another output_dir or set them back."
        raise CheckpointError(msg)
    return state


def save_weights(path: str | Path, network: nn.Module) -> None:
    """Write the weights of one network alone, as what is evaluated and deployed."""
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    with write_atomically(path) as temporary:
        _save(weights, temporary)


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load weights written by `save_weights` into `network` and return it.

    Raises:
        CheckpointError: if the file is missing, unreadable, holds something else, or does not fit the
            network.
    """
    weights = _read_weights(path)
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    resized = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
    if missing or unknown or resized:
        keys = f"missing {missing[:5]}, unknown {unknown[:5]}, resized {sorted(resized)[:5]}"
        raise CheckpointError(f"{path} does not fit the network ({keys}): check network_def.")
    network.load_state_dict(weights)
    return network


def weight_names(path: str | Path) -> frozenset[str]:
    """Return the names of the weights in a file written by `save_weights`.

    Raises:
        CheckpointError: if it is missing, unreadable, or holds something else.
    """
    return frozenset(_read_weights(path))


def _save(content: object, path: Path) -> None:
    try:
        torch.save(content, path)
    except RuntimeError as error:
        # Torch tells neither a full disk nor a closed folder as the system does.
        raise OSError(errno.EIO, " ".join(str(error).split())[:120], str(path)) from error


def _read_weights(path: str | Path) -> dict[str, Tensor]:
    weights = read_saved(path)
    strange = not_weights(weights)
    if strange:
        raise CheckpointError(
            f"{path} holds entries that are no weights ({', '.join(strange[:5])}); give the weights of"
            " one network, such as model.pt."
        )
    return dict(weights)


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
