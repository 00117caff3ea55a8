"""`test_looks.jsonl`: every look at the test list, a line each, kept with the report that came of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from medsemi.atomic import make_writable
from medsemi.errors import DataError

FILE = "test_looks.jsonl"


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        date: UTC, ISO 8601.
        reason: in words.
        methods: that were scored.
        seeds: of their trainings.
        manifest_digest: of the split.
        settings_digest: of the configuration.
    """

    date: str
    reason: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    manifest_digest: str
    settings_digest: str

    @property
    def words(self) -> str:
        """The look as a line."""
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.date}: {', '.join(self.methods)}; seeds {seeds}; {self.reason}"


def read_looks(folder: Path) -> list[Look]:
    """All looks that `folder` knows, in order.

    Raises:
        DataError: if a line is no look.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def record_look(folder: Path, look: Look) -> None:
    """Add a look, before it is taken; several processes may add at once.

    Raises:
        OutputError: if the folder cannot be written.
    """
    make_writable(folder)
    line = json.dumps(asdict(look), ensure_ascii=False) + "\n"
    # One write at the end of the file: none gets between, and none is lost.
    with (folder / FILE).open("ab", buffering=0) as file:
        file.write(line.encode())
        os.fsync(file.fileno())


def _parse(path: Path, number: int, line: str) -> Look:
    try:
        entry = json.loads(line)
        return Look(**{**entry, "methods": tuple(entry["methods"]), "seeds": tuple(entry["seeds"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}, line {number}, is no look at a test list; mend it.") from error
