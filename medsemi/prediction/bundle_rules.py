"""Bundles that prediction refuses for what their transforms do.

Labels are decided once, on the grid of the source. A bundle that decides them before and resamples
them then was validated with other borders than those that prediction draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Names of MONAI's transforms in lower case, without the ending of their dictionary versions.
RESAMPLING = {
    "affine",
    "invert",
    "resampletomatch",
    "resize",
    "rotate",
    "spacing",
    "spatialresample",
    "zoom",
}
LABEL_KEYS = {"label", "labels", "mask", "pred", "seg"}


def label_interpolation(config: Mapping[str, Any]) -> str | None:
    """Say where a configuration resamples labels.

    Args:
        config: of a bundle, merged and not evaluated.

    Returns:
        What is wrong, for E10; None if nothing is.
    """
    for transform in _transforms(config, "preprocessing"):
        smooth = "nearest" not in str(transform.get("mode", "bilinear"))
        if _name(transform) in RESAMPLING and smooth and _keys(transform) & LABEL_KEYS:
            return f"its preprocessing interpolates labels ({_target(transform)})"
    decided: set[str] = set()
    for transform in _transforms(config, "postprocessing"):
        if _decides(transform):
            decided |= _keys(transform)
        elif _name(transform) in RESAMPLING and _keys(transform) & decided:
            return (
                f"its postprocessing resamples label maps ({_target(transform)} after labels were"
                " decided); put AsDiscreted after it"
            )
    return None


def overlapping_structures(config: Mapping[str, Any]) -> str | None:
    """Say where a configuration takes each channel as a structure of its own.

    Args:
        config: of a bundle, merged and not evaluated.

    Returns:
        What is wrong, for E10; None if nothing is.
    """
    for transform in _transforms(config, "postprocessing"):
        if _name(transform) == "activations" and _is_on(transform.get("sigmoid")):
            return "its structures may overlap (sigmoid); a label map needs one class per voxel"
    return None


def _decides(transform: Mapping[str, Any]) -> bool:
    asked = ("argmax", "threshold", "rounding")
    return _name(transform) == "asdiscrete" and any(_is_on(transform.get(k)) for k in asked)


def _is_on(value: object) -> bool:
    return bool(value) and value != "$False"


def _name(transform: Mapping[str, Any]) -> str:
    return _target(transform).lower().removesuffix("dict").removesuffix("d")


def _target(transform: Mapping[str, Any]) -> str:
    return str(transform.get("_target_", "")).rpartition(".")[2]


def _keys(transform: Mapping[str, Any]) -> set[str]:
    """The keys that a transform works on; a transform without keys works on `pred`."""
    keys = transform.get("keys", "pred")
    return {keys} if isinstance(keys, str) else {str(key) for key in keys}


def _transforms(config: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Transforms of a chain, in order, also those in chains within it."""
    yield from _flat(config.get(name), config)


def _flat(node: object, config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    node = _resolved(node, config)
    if isinstance(node, list):
        for entry in node:
            yield from _flat(entry, config)
    elif isinstance(node, dict) and not node.get("_disabled_"):
        if "transforms" in node:
            yield from _flat(node["transforms"], config)
        else:
            yield {key: _resolved(value, config) for key, value in node.items()}


def _resolved(node: object, config: Mapping[str, Any]) -> object:
    """What a reference such as `@preprocessing` or `@validate::preprocessing` names."""
    for _ in range(len(config)):
        if not (isinstance(node, str) and node.startswith("@")):
            break
        found: Any = config
        for part in node[1:].replace("#", "::").split("::"):
            found = found.get(part) if isinstance(found, dict) else None
        node = found
    return node
