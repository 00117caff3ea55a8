"""Which DICOM objects form a series, and what identifies it.

Study and series UID say it; where the series UID is empty, the folder and the patient do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsemi.prediction.discovery.header import Header


@dataclass(frozen=True)
class Group:
    """The objects of a series.

    Attributes:
        key: stable identity; it holds no patient's number.
        keys: what `key` is in any run: where it is alone, and where another series has that identity.
        members: the objects.
    """

    key: str
    keys: tuple[str, str]
    members: list[Header]


def in_series(headers: Iterable[Header]) -> list[Group]:
    """Group objects by series.

    Args:
        headers: of all objects of a run.
    """
    together: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        together[header.study, header.series or header.folder].append(header)
    series = [
        (_key(members), f"{study}|{where}{rank}", members)
        for (study, where), group in together.items()
        for rank, members in _parts(group)
    ]
    count = Counter(key for key, _, _ in series)
    # Copies without identifiers in several INPUTs, or studies that share a series UID.
    return [
        Group(keys[count[key] > 1], keys, members)
        for key, place, members in series
        for keys in [(key, f"{key}|{place}")]
    ]


def patients_of(headers: Iterable[Header]) -> set[str]:
    """The patient numbers that objects name; those that name none may be of any patient."""
    return {number for header in headers if (number := _patient(header))}


def _parts(group: Sequence[Header]) -> list[tuple[str, list[Header]]]:
    """What lies in one folder without a series UID, by patient; all else stays together."""
    if group[0].series or len(patients_of(group)) < 2:
        return [("", list(group))]
    parts: dict[str, list[Header]] = defaultdict(list)
    for header in group:
        parts[_patient(header)].append(header)
    return [(f"|patient {rank}", parts[number]) for rank, number in enumerate(sorted(parts))]


def _patient(header: Header) -> str:
    return header.tags.get("patient_id", "")


def _key(headers: Sequence[Header]) -> str:
    """The series UID; else the least image UID; else the folder."""
    if headers[0].series:
        return headers[0].series
    uids = [header.uid for header in headers if header.uid]
    if uids:
        return f"image {min(uids)}"
    return f"folder {Path(min(header.name for header in headers)).parent.as_posix()}"
