"""What the report knows of each case: its record, its volumes, the place of its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Status of a card -> its words, in the order of the filter.
STATUSES = {
    "done": "Done",
    "warning": "Done, with warnings",
    "refused": "Refused",
    "failed": "Failed",
    "skipped": "Skipped",
}
_RANKS = {"done": 1, "warning": 1, "failed": 2, "refused": 3, "skipped": 4}


@dataclass(frozen=True, slots=True)
class Message:
    """One code of a case.

    Attributes:
        code: such as W18.
        text: the sentence, with what to do next.
        values: that stand in the sentence.
    """

    code: str
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One case of the report.

    Attributes:
        case_id: name of its folder.
        record: its case.json.
        volumes: its structures, as in volumes.json or, where that was not asked for, in case.json;
            empty where there is no result.
        sheet: its structures.png; None if there is none.
    """

    case_id: str
    record: Mapping[str, Any]
    volumes: Sequence[Mapping[str, Any]] = ()
    sheet: Path | None = None

    @property
    def messages(self) -> list[Message]:
        """The codes of the case."""
        return [
            Message(str(code["code"]), str(code.get("text", "")), _mapping(code.get("detail")))
            for code in self.record.get("codes", [])
        ]

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        status = str(self.record.get("status", "failed"))
        if status == "done" and any(message.code.startswith("W") for message in self.messages):
            return "warning"
        return status if status in STATUSES else "failed"

    @property
    def agreement(self) -> dict[str, float]:
        """Dice of the two networks, by structure, where it is known."""
        known = _mapping(self.record.get("agreement"))
        return {str(name): float(dice) for name, dice in known.items() if dice is not None}

    @property
    def lowest_agreement(self) -> float | None:
        """Of all structures; None where it is not known."""
        return min(self.agreement.values(), default=None)

    def part(self, key: str) -> Mapping[str, Any]:
        """An object within the record; empty if it is absent.

        Args:
            key: such as `source`.
        """
        return _mapping(self.record.get(key))

    @property
    def order(self) -> tuple[int, float, bool, str]:
        """Where the case stands: results first, lowest agreement first of all."""
        lowest = self.lowest_agreement
        certain = float("inf") if lowest is None else lowest
        return _RANKS[self.status], certain, self.status != "warning", self.case_id


def read_entries(out: Path) -> tuple[list[Entry], list[str]]:
    """Read the cases of an output folder, in the order of the report.

    Args:
        out: the output folder.

    Returns:
        The cases, and the names of the folders whose record cannot be read.
    """
    entries, unreadable = [], []
    for folder in sorted((out / "cases").glob("[!.]*")):
        if not folder.is_dir():
            continue
        record = read_object(folder / "case.json")
        if record is None:
            unreadable.append(folder.name)
            continue
        volumes = (read_object(folder / "volumes.json") or {}).get("structures")
        sheet = folder / "structures.png"
        entries.append(
            Entry(
                folder.name,
                record,
                record.get("volumes", []) if volumes is None else volumes,
                sheet if sheet.is_file() else None,
            )
        )
    return sorted(entries, key=lambda entry: entry.order), unreadable


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is none.

    Args:
        path: of the file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
