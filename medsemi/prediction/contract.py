"""Values of a bundle's contract, checked when it is read.

Unchecked, a wrong value is found after the network ran, or the scans are blamed for it. Each check
raises ValueError with the key, what stands there and what it needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

# Characters that DICOM takes in the meaning of a code, and in its scheme.
LONGEST_TEXT, LONGEST_SCHEME = 64, 16
_LONGEST_SHOWN = 60


def wrong(key: str, value: object, needs: str) -> ValueError:
    """The exception for a value, with what its key needs.

    Args:
        key: with those that it lies under, such as `intensity.clip`.
        value: that stands there.
        needs: in plain words.
    """
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"
    return ValueError(f"'{key}' is {shown}; it needs {needs}")


def refuse_unknown(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """A mistyped key would prepare values in another way than those of the training.

    Args:
        entry: an object of the contract.
        known: keys that it may have.
        where: keys that it lies under, with a dot at the end; empty for the contract itself.

    Raises:
        ValueError: a key is not known.
    """
    for key in entry:
        if key not in known:
            raise ValueError(f"'{where}{key}' is not known; take one of {', '.join(known)}")


def needed(entry: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401  (JSON)
    """The value of a key; ValueError where it is absent or empty."""
    if not entry.get(key):
        raise ValueError(f"'{key}' is missing")
    return entry[key]


def mapping(key: str, value: object) -> Mapping[str, Any]:
    """An object of JSON; ValueError for anything else."""
    if not isinstance(value, dict):
        raise wrong(key, value, "an object in braces")
    return value


def text(key: str, value: object) -> str:
    """A text, perhaps empty; ValueError for anything else."""
    if not isinstance(value, str):
        raise wrong(key, value, "a text")
    return value


def texts(key: str, value: object) -> tuple[str, ...]:
    """A list of texts, none of them empty; ValueError for anything else."""
    if not _are_texts(value):
        raise wrong(key, value, 'a list of texts, such as ["CT"]')
    return tuple(each.strip() for each in value)


def whole(key: str, value: object, least: int) -> int:
    """A whole number of at least `least`; ValueError for anything else."""
    if not _is_whole(value) or value < least:
        raise wrong(key, value, f"a whole number of at least {least}")
    return value


def number(key: str, value: object) -> float:
    """A finite number; ValueError for anything else."""
    if not _is_finite(value):
        raise wrong(key, value, "a finite number")
    return value


def in_order(key: str, value: object, *, apart: bool = False) -> tuple[float, float]:
    """A least and a greatest value, both finite; ValueError for anything else.

    Args:
        key: that is named.
        value: of it.
        apart: whether the two must differ.
    """
    if not _are_finite(value, 2) or value[0] > value[1] or (apart and value[0] == value[1]):
        other = "greater" if apart else "greatest"
        raise wrong(key, value, f"a least value and a {other} one, two finite numbers")
    return value[0], value[1]


def lengths(key: str, value: object) -> tuple[float, float, float]:
    """Three finite lengths above 0, in mm; ValueError for anything else."""
    if not _are_finite(value, 3) or min(value) <= 0:
        raise wrong(key, value, "three lengths above 0, in mm")
    return value[0], value[1], value[2]


def color(key: str, value: object) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255; ValueError for anything else."""
    if not _is_color(value):
        raise wrong(key, value, "red, green and blue, three whole numbers from 0 to 255")
    return value[0], value[1], value[2]


def code(key: str, value: object) -> tuple[str, str, str]:
    """Scheme, value and meaning of a DICOM code; ValueError for anything else."""
    if not _is_code(value):
        raise wrong(
            key,
            value,
            f"scheme, value and meaning of a DICOM code, three texts of up to {LONGEST_TEXT}"
            f" characters, the scheme up to {LONGEST_SCHEME}",
        )
    return value[0], value[1], value[2]


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    try:
        return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _are_finite(value: object, count: int) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == count and all(map(_is_finite, value))


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(t, str) and t.strip() for t in value)


def _is_color(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(_is_whole(part) and 0 <= part <= 255 for part in value)


def _is_code(value: object) -> TypeGuard[list[str]]:
    if not _are_texts(value) or len(value) != 3:
        return False
    return len(value[0]) <= LONGEST_SCHEME and max(map(len, value)) <= LONGEST_TEXT
