"""Values of DICOM elements, taken from their bytes: garbage becomes None, never an exception.

Far faster than the conversions of pydicom, which check what is not needed here; texts with a
character set go through pydicom.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

LONGEST_TEXT = 1024


def text(dataset: Dataset, tag: int) -> str:
    """An ASCII value (CS, UI, TM, …) without padding; empty where absent."""
    value = _raw(dataset, tag)
    if isinstance(value, bytes):
        return value[:LONGEST_TEXT].decode("ascii", errors="replace").strip(" \0\r\n\t")
    if isinstance(value, str):
        return value.strip(" \0")
    return "" if value is None else "\\".join(_parts(value))


def words(dataset: Dataset, tag: int) -> tuple[str, ...]:
    """The values of an element of several, upper case."""
    value = text(dataset, tag)
    return tuple(part.strip().upper() for part in value.split("\\")) if value else ()


def free_text(dataset: Dataset, tag: int) -> str:
    """A text decoded by the character set of the file; empty where that fails."""
    try:
        value = dataset[tag].value if tag in dataset else ""
        return "" if isinstance(value, Items) else str(value or "").strip()
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError):
        return ""


def digest(dataset: Dataset, tags: Iterable[int]) -> str:
    """SHA-256 over the bytes of some elements, whatever their character set; absent ones count too.

    Args:
        dataset: as it was read, with no element converted.
        tags: of the elements.
    """
    values = [_raw(dataset, tag) for tag in tags]
    return hashlib.sha256(repr(values).encode(errors="backslashreplace")).hexdigest()


def numbers(dataset: Dataset, tag: int, count: int | None = None) -> tuple[float, ...] | None:
    """Finite numbers of a decimal or integer string; None if one is not, or another number of them."""
    value = text(dataset, tag)
    if not value:
        return None
    try:
        found = tuple(float(part) for part in value.split("\\"))
    except ValueError:
        return None
    if not all(math.isfinite(number) for number in found):
        return None
    return found if count is None or len(found) == count else None


def number(dataset: Dataset, tag: int) -> float | None:
    """The first of `numbers`."""
    found = numbers(dataset, tag)
    return found[0] if found else None


def binary(dataset: Dataset, tag: int, code: str, count: int = 1) -> tuple[float, ...] | None:
    """Numbers of a binary element.

    Args:
        dataset: holds it.
        tag: of the element.
        code: of `struct` for one number, such as `H` or `d`.
        count: how many.
    """
    item = dataset.get_item(tag)
    if isinstance(item, RawDataElement) and isinstance(item.value, bytes):
        layout = f"{'<' if item.is_little_endian else '>'}{count}{code}"
        if len(item.value) < struct.calcsize(layout):
            return None
        found: Sequence[float] = struct.unpack_from(layout, item.value)
    else:
        found = numbers(dataset, tag, count) or ()
    valid = len(found) == count and all(math.isfinite(value) for value in found)
    return tuple(found) if valid else None


def whole(dataset: Dataset, tag: int, code: str = "H") -> int:
    """A whole number of a binary element, 0 where absent."""
    found = binary(dataset, tag, code)
    return int(found[0]) if found else 0


def items(dataset: Dataset | None, tag: int) -> list[Dataset]:
    """Items of a sequence; empty where absent or not a sequence."""
    if dataset is None or tag not in dataset:
        return []
    value = dataset[tag].value
    if value is None or isinstance(value, (bytes, str)):
        return []
    return [item for item in value if isinstance(item, Dataset)]


def first(dataset: Dataset | None, tag: int) -> Dataset | None:
    """First item of a sequence."""
    found = items(dataset, tag)
    return found[0] if found else None


def _raw(dataset: Dataset, tag: int) -> object:
    """The value of an element; None too where items stand, whose text may have no end."""
    item = dataset.get_item(tag)
    return None if item is None or isinstance(item.value, Items) else item.value


def _parts(value: object) -> list[str]:
    if isinstance(value, Sequence):
        return [str(part) for part in value]
    return [str(value)]
