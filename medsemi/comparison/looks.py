"""`test_looks.json`: every look at the test list, kept with the report that came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from medsemi.atomic import write_atomically

FILE = "test_looks.json"


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
    """All looks that `folder` knows, in order."""
    path = folder / FILE
    if not path.is_file():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [
        Look(**{**entry, "methods": tuple(entry["methods"]), "seeds": tuple(entry["seeds"])})
        for entry in entries
    ]


def record_look(folder: Path, look: Look) -> None:
    """Add a look, before it is taken."""
    entries = [asdict(entry) for entry in [*read_looks(folder), look]]
    with write_atomically(folder / FILE) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")
