"""A preparation that `medsemi predict` would refuse is told before anything is trained with it.

Where a bundle leaves spacing and intensities to its user, `preparation` says them to a prediction, and
the chain of transforms takes a mistyped name for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medsemi.bundle.merged import MISSING, is_expression, lookup
from medsemi.prediction import contract as check
from medsemi.prediction.model import NORMS

PREPARATION = "preparation"
# What the chain of `any_organ_bcp`, and that of a plan, make of the key `intensity_norm`.
_CHAIN_NORMS = {"intensity_norm": ("none", "zscore", "range")}


def preparation_mistake(tree: Mapping[str, Any]) -> str:
    """Find the first value of a preparation that no prediction takes.

    Args:
        tree: merged configuration, overrides included; expressions are known to a run alone.

    Returns:
        One sentence with the key; empty if there is no mistake, or no preparation.
    """
    preparation = tree.get(PREPARATION)
    if not isinstance(preparation, Mapping):
        return ""
    try:
        _check(tree, preparation)
    except ValueError as error:
        return f"{error}."
    return ""


def _check(tree: Mapping[str, Any], preparation: Mapping[str, Any]) -> None:
    key, modality = _value(tree, preparation, "modality")
    if modality is not MISSING:
        check.texts(key, modality)
    _check_optional(check.lengths, *_value(tree, preparation, "spacing"))
    intensity = check.mapping("intensity", preparation.get("intensity", {}))
    check.refuse_unknown(intensity, ("clip", "norm", "background"), "intensity.")
    clip_key, clip = _value(tree, intensity, "clip", "intensity.")
    _check_optional(partial(check.in_order, apart=True), clip_key, clip)
    _check_optional(check.number, *_value(tree, intensity, "background", "intensity."))
    key, norm = _value(tree, intensity, "norm", "intensity.")
    names = _CHAIN_NORMS.get(key, NORMS)
    if norm is not MISSING and norm not in names:
        raise check.wrong(key, norm, f"one of {', '.join(names)}")
    if norm == "range" and ("clip" not in intensity or clip is None):
        raise check.wrong(key, norm, f"a least and a greatest intensity in '{clip_key}'")


def _value(
    tree: Mapping[str, Any], entry: Mapping[str, Any], name: str, above: str = ""
) -> tuple[str, Any]:
    """The key that holds a value, which may be another one, and the value; MISSING if nobody knows yet."""
    key, value = f"{above}{name}", entry.get(name, MISSING)
    if isinstance(value, str) and value.startswith("@"):
        key, value = value[1:], lookup(tree, value[1:])
    return key, MISSING if is_expression(value) else value


def _check_optional(checked: Callable[[str, object], object], key: str, value: object) -> None:
    if value is None or value is MISSING:
        return
    try:
        checked(key, value)
    except ValueError as error:
        raise ValueError(f"{error}, or null") from error
