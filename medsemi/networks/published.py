"""Loading checkpoints of the published Bidirectional Copy-Paste code.

Four containers exist: `{net, opt}`, `{net, opt, epoch}`, `{net}` and the bare state dict; keys may
carry the prefix `module.` of a data-parallel wrapper. The checkpoints also hold contrastive heads
that no published result uses; these are dropped by name and reported, everything else must match.

The pancreas code names the same network differently (no `encoder.` and `decoder.` level, last block
and last convolution under `branchs.0`); its keys are renamed by that rule.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medsemi.errors import CheckpointError
from medsemi.networks.weights_file import not_weights, read_saved

_LOG = logging.getLogger(__name__)

_CONTAINER_KEYS = {"net", "opt", "epoch"}
_UNUSED_HEADS = {
    "projection_head",
    "prediction_head",
    *(f"contrastive_class_selector_{index}" for index in range(4)),
    *(f"contrastive_class_selector_memory{index}" for index in range(4)),
}
_ENCODER_BLOCKS = {
    "block_one",
    "block_one_dw",
    "block_two",
    "block_two_dw",
    "block_three",
    "block_three_dw",
    "block_four",
    "block_four_dw",
    "block_five",
}
_PANCREAS_HEAD = {"branchs.0.0.": "decoder.block_nine.", "branchs.0.1.": "decoder.out_conv."}
_KEYS_SHOWN = 10


@dataclass(frozen=True)
class LoadReport:
    """What loading a published checkpoint did besides copying weights.

    Attributes:
        loaded: keys of the network that received a value.
        dropped: keys of the known unused heads, as they stand in the checkpoint without `module.`.
        renamed: keys of the pancreas layout, by their name in the checkpoint, with the new name.
    """

    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    renamed: Mapping[str, str]


def load_published(network: nn.Module, source: str | Path | Mapping[str, object]) -> LoadReport:
    """Load a checkpoint of the published code into a network, all keys or none.

    Args:
        network: the network to fill; `medsemi.networks.vnet.VNet` has the published key names.
        source: a checkpoint file, or its content.

    Returns:
        What was loaded, dropped and renamed; also logged.

    Raises:
        CheckpointError: if the file cannot be read, or holds unknown keys, or misses keys, or has
            weights of another shape. The network is then unchanged.
    """
    name, content = (
        ("the checkpoint", source)
        if isinstance(source, Mapping)
        else (str(source), read_saved(source))
    )
    weights = {key.removeprefix("module."): value for key, value in _state(name, content).items()}
    dropped = tuple(key for key in weights if key.partition(".")[0] in _UNUSED_HEADS)
    kept = {key: value for key, value in weights.items() if key not in dropped}
    renamed = {key: new for key in kept if (new := _layout_of_atrium(key)) != key}
    state = {renamed.get(key, key): value for key, value in kept.items()}
    _check(name, state, network.state_dict())
    network.load_state_dict(state)
    _LOG.info("%s: loaded %d entries, renamed %d.", name, len(state), len(renamed))
    if dropped:
        heads = sorted({key.partition(".")[0] for key in dropped})
        _LOG.info("%s: dropped the unused heads %s.", name, ", ".join(heads))
    return LoadReport(loaded=tuple(state), dropped=dropped, renamed=renamed)


def _state(name: str, content: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = content.get("net")
    if isinstance(inner, Mapping) and set(content) <= _CONTAINER_KEYS:
        content = inner
    strange = not_weights(content)
    if strange or not content:
        found = f"entries that are no weights ({_listed(strange)})" if strange else "nothing"
        raise CheckpointError(
            f"{name} holds {found}; give a state dict, or one under the key 'net'."
        )
    return dict(content)


def _layout_of_atrium(key: str) -> str:
    block = key.partition(".")[0]
    if block.startswith("block_"):
        return f"encoder.{key}" if block in _ENCODER_BLOCKS else f"decoder.{key}"
    for old, new in _PANCREAS_HEAD.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _check(name: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    both = [key for key in expected if key in state]
    faults = {
        "unknown keys": [key for key in state if key not in expected],
        "missing keys": [key for key in expected if key not in state],
        "other shapes": [key for key in both if state[key].shape != expected[key].shape],
    }
    text = "; ".join(f"{what}: {_listed(keys)}" for what, keys in faults.items() if keys)
    if text:
        raise CheckpointError(
            f"{name} does not fit the network ({text}); "
            "build the network with the checkpoint's filters, channels and norm."
        )


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
    return ", ".join(keys[:_KEYS_SHOWN]) + more
