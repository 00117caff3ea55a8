"""A training goes on with the configuration that it began with, down to single arguments.

The checkpoint compares what `settings` holds, by value. Here the text of everything else that makes
a training is compared with the `config.json` of its folder: the network, the preparation of the
images, and arguments that an override such as `--optimizer::momentum 0.5` changed alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medsemi.bundle.merged import MISSING, PLACES, lookup, nodes
from medsemi.bundle.reading import SEPARATOR, join
from medsemi.bundle.references import reachable
from medsemi.errors import CheckpointError

_TRAINER = "train::trainer"
# Arguments of the trainer that say where and how it computes and reports, not what; settings tell themselves.
_HOW = (
    "device", "max_epochs", "output_dir", "settings", "num_workers", "checkpoint_interval",
    "handlers", "compile", "channels_last",
)  # fmt: skip
# Where prepared images lie, and the part of a process, which the checkpoint knows by their number.
_PLACES = (
    *PLACES, "store::dataset_dir", "store::cache_dir", "rank", "world_size",
    "train::dataset::rank", "train::dataset::world_size",
)  # fmt: skip
_SHOWN = 3


def refuse_other_training(folder: str | Path, tree: Mapping[str, Any]) -> None:
    """Compare a configuration with that of the training in a folder, if it left a checkpoint.

    Args:
        folder: the run folder of the stage.
        tree: merged configuration, overrides included.

    Raises:
        CheckpointError: if something differs that the training depends on; it names the paths.
    """
    record, checkpoint = Path(folder) / "config.json", Path(folder) / "last.pt"
    if not (record.is_file() and checkpoint.is_file()):
        return
    changes = differences(record, tree, _parts)
    if changes:
        raise CheckpointError(
            f"{checkpoint} belongs to other settings ({changes}): take another output_dir or set them"
            " back."
        )


def differences(
    record: Path, tree: Mapping[str, Any], parts: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> str:
    """Say what differs between a recorded configuration and one of today; "" is nothing.

    Args:
        record: `config.json` of a run.
        tree: merged configuration, overrides included.
        parts: the leaves that count, by path.
    """
    before = parts(json.loads(record.read_text(encoding="utf-8")))
    now = parts(json.loads(json.dumps(tree, default=str)))
    differing = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    changes = [f"{k} was {before.get(k)}, is {now.get(k)}" for k in differing[:_SHOWN]]
    more = [f"{len(differing) - _SHOWN} more"] if len(differing) > _SHOWN else []
    return "; ".join([*changes, *more])


def _parts(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves, by path, of all that the trainer is made of."""
    trainer = lookup(tree, _TRAINER)
    if trainer is MISSING:
        return {}
    roots = [join(_TRAINER, name) for name in trainer if name not in _HOW]
    return leaves(tree, reachable(tree, roots), (*_PLACES, *_held(tree)))


def leaves(
    tree: Mapping[str, Any], roots: Iterable[str], left_out: tuple[str, ...]
) -> dict[str, Any]:
    """The leaves, by path, of some nodes of a configuration.

    Args:
        tree: the whole.
        roots: paths of the nodes.
        left_out: paths that do not count, with all below them.
    """
    return {
        path: value
        for root in roots
        for path, value in nodes(lookup(tree, root), root)
        if not _is_below(path, left_out)
        and (value in ({}, []) or not isinstance(value, (dict, list)))
    }


def _held(tree: Mapping[str, Any]) -> Iterator[str]:
    """Keys whose value is in the settings of the checkpoint."""
    for name in ("shared_settings", "stage_settings"):
        for value in tree.get(name, {}).values():
            if isinstance(value, str) and value.startswith("@"):
                yield value[1:]


def _is_below(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(name + SEPARATOR) for name in names)
