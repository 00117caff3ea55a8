"""Files with the same SOP Instance UID: copies to leave out, or a contradiction to refuse.

The only rule of discovery that may read pixels, and only where UIDs repeat.
"""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.discovery.header import Header


@dataclass(frozen=True)
class Distinct:
    """The objects of a series, each once.

    Attributes:
        headers: the first by path of each identity.
        copies: identity -> files left out because they hold the same.
        conflict: whether files of one identity hold different images, or name different patients.
    """

    headers: tuple[Header, ...]
    copies: dict[str, tuple[Path, ...]]
    conflict: bool


def drop_copies(headers: Iterable[Header]) -> Distinct:
    """Keep one file of each SOP Instance UID; objects without one are never copies.

    Args:
        headers: of one series.
    """
    groups: dict[str, list[Header]] = defaultdict(list)
    ordered = sorted(headers, key=lambda header: str(header.path))
    for header in ordered:
        groups[header.uid or str(header.path)].append(header)
    copies, conflict = {}, False
    for uid, group in groups.items():
        kept, *others = group
        if others:
            copies[uid] = tuple(other.path for other in others)
            same = _may_be_one_patient(group) and all(_same_image(kept, each) for each in others)
            conflict = conflict or not same
    return Distinct(tuple(group[0] for group in groups.values()), copies, conflict)


def _same_image(a: Header, b: Header) -> bool:
    if _described(a) != _described(b):
        return False
    try:
        return filecmp.cmp(a.path, b.path, shallow=False) or _digest(a.path) == _digest(b.path)
    except (CaseRefused, OSError):
        return False  # what cannot be compared is not known to be the same


def _may_be_one_patient(copies: Iterable[Header]) -> bool:
    """Whether copies say nothing different; what one leaves out may be what another says."""
    said = zip(*(header.patient for header in copies), strict=True)
    return all(len({*texts} - {""}) < 2 for texts in said)


def _described(header: Header) -> list[tuple[object, ...]]:
    return [(frame.matrix, frame.place, frame.rescale) for frame in header.frames]


def _digest(path: Path) -> str:
    # Decoders are slow to import and seldom needed here.
    pixels = import_module("medsemi.prediction.reading.pixels")
    return str(pixels.pixel_digest(path))
