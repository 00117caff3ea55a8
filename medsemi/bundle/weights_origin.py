"""What is scored is prepared and built as it was trained, also where no weight would tell.

Spacing, intensities, the views that a student sees and stretched slices have no weights: with a forgotten
overlay they load without a word, and the scores are those of another network than was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsemi.bundle.merged import MISSING, PLACES, lookup
from medsemi.bundle.references import reachable
from medsemi.bundle.resumed import differences, leaves
from medsemi.data.held_out import training_of
from medsemi.errors import CheckpointError

_ROOTS = ("network_def", "preprocessing", "views", "window_rule")
# What a stream does where a bundle does not say it.
_DEFAULTS = {"window_rule": "cut"}
# No network that is scored drops anything.
_LEFT_OUT = (*PLACES, "dropout")


def refuse_other_preparation(weights_dir: str | Path, tree: Mapping[str, Any]) -> None:
    """Compare network, views, windows and preparation of images with those of the training of weights.

    Args:
        weights_dir: run folder of the training, or where its bundle has weights; without a `config.json`
            nothing is compared.
        tree: merged configuration of the evaluation, overrides included.

    Raises:
        CheckpointError: if something differs; it names the paths.
    """
    record = training_of(weights_dir) / "config.json"
    if not record.is_file():
        return
    changes = differences(record, tree, _parts)
    if changes:
        raise CheckpointError(
            f"The weights in {weights_dir} were trained with another configuration ({changes}): give the"
            " overlays and values of the training."
        )


def _parts(tree: Mapping[str, Any]) -> dict[str, Any]:
    tree = {**_DEFAULTS, **tree}
    known = [root for root in _ROOTS if lookup(tree, root) is not MISSING]
    return leaves(tree, reachable(tree, known), _LEFT_OUT)
