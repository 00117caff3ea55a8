"""The network of a bundle, built by the bundle's own configuration.

A bundle is code: its configuration names classes and holds expressions that are evaluated. Run only
bundles that you trust as you trust a program. Weights are data, never unpickled code.

Read are, of `configs/`: `common` and `inference` (needed), each .yaml, .yml or .json; later
files replace keys of earlier ones. Built are `network_def` (or `network` where it is absent) and
`inferer`, and what they refer to; nothing else of the configuration is evaluated but its imports.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator
from monai.inferers import SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn

from medsemi.prediction.bundle_rules import label_interpolation, overlapping_structures
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.memory import activation_bytes
from medsemi.prediction.model import Model
from medsemi.prediction.slice_network import SliceNetwork, as_stack_window
from medsemi.prediction.windows import Triple, WindowPlan

CONFIG_NAMES = ("common", "inference")
SUFFIXES = (".yaml", ".yml", ".json")
# Edge of a trial window along axes that a bundle takes whole.
TRIAL_EDGE = 64
KEYS_SHOWN = 3
LONGEST_REASON = 160


@dataclass(frozen=True)
class BundleNetwork:
    """What a bundle runs.

    Attributes:
        network: with the weights of `models/model.pt`, in eval mode, on the CPU.
        second: the one of student and teacher that differs more from `network`; None unless the
            bundle holds both.
        plan: windows of the bundle's inferer.
        activations: bytes that the network holds for one window, float32.
    """

    network: nn.Module
    second: nn.Module | None
    plan: WindowPlan
    activations: int


def load_network(model: Model) -> BundleNetwork:
    """Build the network and read the inferer of a bundle.

    Args:
        model: what the bundle says about itself.

    Raises:
        RunStopped: E10, if the bundle cannot be built or does not keep its contract.
    """
    parser = _read_configs(model.folder)
    raw: dict[str, Any] = parser.get()
    for fault in (label_interpolation(raw), overlapping_structures(raw)):
        if fault:
            raise _invalid(fault)
    inferer = _built(parser, "inferer")
    plan = read_plan(inferer)
    network = _built(parser, "network_def" if "network_def" in raw else "network")
    if not isinstance(network, nn.Module):
        raise _invalid("configs: network_def builds no torch.nn.Module")
    _load(network, model.weights["model"])
    second = _second(network, model)
    if len(getattr(inferer, "window", ())) == 2:
        network, second = SliceNetwork(network), second and SliceNetwork(second)
    activations = _checked_activations(network.eval(), plan, len(model.labels) + 1)
    return BundleNetwork(network, second, plan, activations)


def read_plan(inferer: object) -> WindowPlan:
    """The windows of an inferer that a configuration built.

    Args:
        inferer: MONAI's `SlidingWindowInferer`, or one that states `window`, `stride`, `weighting` and
            `average` as those of this package do; windows of two edges lie in slices.

    Raises:
        RunStopped: E10 for any other.
    """
    if isinstance(inferer, SlidingWindowInferer):
        return _monai_plan(inferer)
    stated: list[Any] = [
        getattr(inferer, k, None) for k in ("window", "stride", "weighting", "average")
    ]
    window, stride, weighting, average = stated
    if any(value is None for value in stated) or len(window) not in (2, 3):
        raise _invalid(
            "configs/inference: inferer slides no window over three axes; use MONAI's"
            " SlidingWindowInferer"
        )
    window, stride = as_stack_window(window), as_stack_window(stride)
    mirrors = tuple(getattr(inferer, "mirror_axes", ()))
    return WindowPlan(window, stride, weighting, average, mirror_axes=mirrors)


def _monai_plan(inferer: SlidingWindowInferer) -> WindowPlan:
    try:
        roi = ensure_tuple_rep(inferer.roi_size, 3)
        overlap = ensure_tuple_rep(inferer.overlap, 3)
        sigma = ensure_tuple_rep(inferer.sigma_scale, 3)
    except ValueError as error:
        raise _invalid("configs/inference: inferer slides no window over three axes") from error
    if inferer.with_coord:
        raise _invalid("configs/inference: inferer passes coordinates to the network (with_coord)")
    size = [max(int(edge or 0), 0) for edge in roi]
    steps = [max(int(edge * (1 - part)), 1) for edge, part in zip(size, overlap, strict=True)]
    return WindowPlan(
        size=(size[0], size[1], size[2]),
        stride=(steps[0], steps[1], steps[2]),
        weighting=str(inferer.mode.value),
        average="logits",
        sigma_scale=(float(sigma[0]), float(sigma[1]), float(sigma[2])),
        padding=str(getattr(inferer.padding_mode, "value", inferer.padding_mode)),
        padding_value=float(inferer.cval),
    )


class _Locator(ComponentLocator):
    """MONAI's, on a copy of what is loaded: readers of scans import their decoders meanwhile."""

    def _find_module_names(self) -> list[str]:
        return [name for name in tuple(sys.modules) if name.startswith(self.MOD_START)]


def _read_configs(folder: Path) -> ConfigParser:
    found = {
        name: path
        for name in CONFIG_NAMES
        for suffix in reversed(SUFFIXES)
        if (path := folder / "configs" / f"{name}{suffix}").is_file()
    }
    if "inference" not in found:
        raise _invalid(f"{folder.name} holds no configs/inference.yaml or .json")
    parser = ConfigParser()
    parser.locator = _Locator()
    try:
        parser.read_config([str(path) for path in found.values()])
        parser["bundle_root"] = str(folder)
        parser.parse()
    except Exception as error:
        names = ", ".join(path.name for path in found.values())
        raise _invalid(f"configs cannot be read ({names}): {_reason(error)}") from error
    return parser


def _built(parser: ConfigParser, key: str) -> object:
    """What a node of the configuration builds."""
    if parser.get(key) is None:
        raise _invalid(f"configs/inference has no '{key}'")
    try:
        return parser.get_parsed_content(key)
    except Exception as error:
        raise _invalid(f"configs: '{key}' cannot be built: {_reason(error)}") from error


def _second(network: nn.Module, model: Model) -> nn.Module | None:
    """The other network of a mean-teacher training: `model.pt` is a copy of one of the two."""
    if not {"student", "teacher"} <= model.weights.keys():
        return None
    candidates = []
    for name in ("student", "teacher"):
        candidates.append(deepcopy(network))
        _load(candidates[-1], model.weights[name])
    return max(candidates, key=lambda other: _distance(network, other)).eval()


def _distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return sum(float((a - b).detach().square().sum()) for a, b in pairs)


def _load(network: nn.Module, path: Path) -> None:
    """Load weights from a file that holds nothing but tensors."""
    name = f"models/{path.name}"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever the damage suggests
        raise _invalid(
            f"{name} cannot be read as weights: it is damaged, or holds more than weights"
        ) from error
    for container in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise _invalid(f"{name} holds no weights by name (a state dict)")
    own = network.state_dict()
    faults = {
        "missing": own.keys() - content.keys(),
        "unknown": content.keys() - own.keys(),
        "other shape": {k for k in own.keys() & content.keys() if own[k].shape != content[k].shape},
    }
    text = "; ".join(f"{what}: {_listed(keys)}" for what, keys in faults.items() if keys)
    if text:
        raise _invalid(f"{name} does not fit the network of the configuration ({text})")
    network.load_state_dict(content)


def _listed(keys: set[str]) -> str:
    shown = ", ".join(sorted(keys)[:KEYS_SHOWN])
    return shown if len(keys) <= KEYS_SHOWN else f"{shown} and {len(keys) - KEYS_SHOWN} more"


def _checked_activations(network: nn.Module, plan: WindowPlan, classes: int) -> int:
    """Bytes of activations, after it was tried that windows of one channel give all classes."""
    window = plan.window((TRIAL_EDGE, TRIAL_EDGE, TRIAL_EDGE))
    try:
        needed, shape = activation_bytes(network, window)
    except Exception:  # such as a network that cannot run without values: it is tried with them
        needed, shape = _tried(network, window)
    if shape is None or (len(shape), shape[:1], shape[2:]) != (5, (1,), window):
        raise _invalid(
            f"the network returns no scores of the size of its windows {window}; got {shape}"
        )
    if shape[1] != classes:
        raise _invalid(
            f"the network has {shape[1]} output channels and the metadata {classes - 1} labels;"
            f" there must be {classes}, one of them for the background"
        )
    return needed


def _tried(network: nn.Module, window: Triple) -> tuple[int, tuple[int, ...] | None]:
    """A real pass; the estimate of its memory is the input's size times the channels of a U-Net."""
    image = torch.zeros((1, 1, *window))
    try:
        with torch.inference_mode():
            output = network(image)
    except Exception as error:
        raise _invalid(
            f"the network does not take windows {window} of one channel: {_reason(error)}"
        ) from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else None
    return TRIAL_EDGE * image.nbytes, shape


def _reason(error: BaseException) -> str:
    """The first line of an error and its type; the innermost cause tells more."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]


def _invalid(why: str) -> RunStopped:
    return RunStopped("E10", why=why)
