"""Any method of the registry on any network: what a configuration calls that leaves the method open.

A method with `network_b` gets a second network of the same architecture with other weights; an
argument that is a number of steps gets its usual share of the training; options come last.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.methods.method import Method
from medsemi.methods.registry import MethodEntry, find_method
from medsemi.networks.stages import decoder_stages, encoder_part
from medsemi.parts.ucf_mix import UCFMix
from medsemi.seeds import derive_seed


def build_method(
    name: str,
    network: nn.Module,
    *,
    steps: int,
    classes: int,
    seed: int = 0,
    window: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
) -> Method:
    """Build a method around `network`.

    Args:
        name: of the registry.
        network: returns logits (batch, classes, *space); the method owns it.
        steps: length of the training, of which ramps and warm-ups take their share.
        classes: with the background.
        seed: of a second network, where the method has one.
        window: voxels per axis of what it will see, so that UCF-Mix takes blocks that divide it;
            None leaves those of the method.
        options: arguments of the method, over everything that is set here.
        shared: arguments that all methods of a comparison share; those that the method does not
            take are left out.

    Raises:
        ConfigError: if there is no such method, it takes no such option, or what it needs cannot be
            told from the network.
    """
    entry = find_method(name)
    given: dict[str, Any] = dict(options or {})
    shares = entry.step_shares.items()
    arguments: dict[str, Any] = {key: max(1, round(share * steps)) for key, share in shares}
    arguments["classes"] = classes
    for need in entry.needs:
        if need not in given and need not in arguments:
            arguments[need] = _needed(need, entry, network, seed)
    if window is not None:
        arguments["mix"] = UCFMix(blocks=dividing_blocks(window))
    if (part := encoder_part(network)) is not None:
        arguments["features"] = part
    return _build(entry, entry.target, network, given, {**(shared or {}), **arguments})


def build_pretraining(
    name: str,
    network: nn.Module,
    *,
    options: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
) -> Method:
    """Build the pre-training that a method starts from; arguments as for `build_method`.

    Raises:
        ConfigError: if the method starts from no pre-training.
    """
    entry = find_method(name)
    if not entry.pretraining:
        raise ConfigError(f"{name} starts from no pre-training; run its training at once.")
    return _build(entry, entry.pretraining, network, options or {}, shared or {})


def another_network(network: nn.Module, seed: int) -> nn.Module:
    """A network of the same architecture whose weights are drawn anew, from `seed` alone.

    They are drawn as its constructor does: by torch's rules, and then by those of the network where
    it has `initialize_weights`, as MONAI's `DynUNet` has.
    """
    other = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network_b"))
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        if (initialize := getattr(other, "initialize_weights", None)) is not None:
            other.apply(initialize)
    return other


def dividing_blocks(window: Sequence[int]) -> tuple[int, ...]:
    """Blocks per axis that divide a window and are as near as can be to the usual 8 (2D) or 6 (3D).

    Of two that are equally near the smaller one is taken, whose blocks are larger.
    """
    usual = {2: 8, 3: 6}[len(window)]
    divisors = ([n for n in range(1, edge + 1) if edge % n == 0] for edge in window)
    return tuple(min(counts, key=lambda n: abs(n - usual)) for counts in divisors)


def described(value: object) -> object:
    """Options as plain values, so that a run can tell whether it is continued with the same ones."""
    if isinstance(value, Mapping):
        return {str(key): described(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(below) for below in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    else:
        fields = vars(value)
    return {"class": type(value).__qualname__, **{k: described(v) for k, v in fields.items()}}


def _needed(need: str, entry: MethodEntry, network: nn.Module, seed: int) -> object:
    if need == "network_b":
        return another_network(network, seed)
    if need == "stages":
        return _known_stages(network)
    raise ConfigError(f"{entry.name} needs '{need}'; give it in method_options.")


def _known_stages(network: nn.Module) -> dict[str, int]:
    stages = decoder_stages(network)
    if not stages:
        raise ConfigError(
            f"The stages of the decoder of {type(network).__name__} are not known; give"
            " method_options stages: their names and channels."
        )
    return stages


def _build(
    entry: MethodEntry,
    target: str,
    network: nn.Module,
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> Method:
    module, _, class_name = target.rpartition(".")
    kind = getattr(importlib.import_module(module), class_name)
    known = [name for name in inspect.signature(kind).parameters if name != "network"]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1, cutoff=0.3) or known
            raise ConfigError(
                f"{entry.name} takes no option '{option}'; did you mean {', '.join(near)}?"
                if known
                else f"{entry.name} takes no option '{option}'; remove it."
            )
    arguments = {name: value for name, value in defaults.items() if name in known}
    return cast("Method", kind(network, **{**arguments, **options}))
