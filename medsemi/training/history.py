"""What a run reported, as a table in its folder: `history.csv`, one line per value.

Columns: `step` (optimizer steps done), `name`, `value` (nine digits, so every float32 survives; also
`nan` and `inf`), `unix_seconds` (when it was reported).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from medsemi.atomic import write_atomically
from medsemi.errors import OutputError

COLUMNS = ("step", "name", "value", "unix_seconds")


class Row(NamedTuple):
    """One reported value.

    Attributes:
        step: optimizer steps done when it was measured.
        name: what was measured, such as `loss/inward_dice`.
        value: the number; may be non-finite.
        unix_seconds: when it was reported.
    """

    step: int
    name: str
    value: float
    unix_seconds: float


def as_stored(step: int, name: str, value: float, unix_seconds: float) -> Row:
    """The row as it will be read back, so that what is told twice is told alike."""
    return Row(step, name, float(f"{value:.9g}"), round(unix_seconds, 3))


class History:
    """The table of one run.

    Args:
        path: the CSV file; made with the first rows.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows at the end, in one write, so that a kill leaves at most one torn line.

        They are on the disk when this returns, and none of them is there if it fails.

        Raises:
            OutputError: if the file cannot be written, such as on a full disk.
        """
        text = _as_csv(rows)
        if not text:
            return
        try:
            # Without a buffer, which would try again what did not fit when it is closed.
            with self.path.open("ab+", buffering=0) as file:
                end = _cut_torn_line(file)
                try:
                    left = ((_header() if end == 0 else "") + text).encode()
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror, str(self.path)) from error

    def read(self) -> list[Row]:
        """All whole rows in the order of writing; lines that a kill or a full disk tore are left out."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = map(_parsed, csv.DictReader(io.StringIO(whole)))
        return [row for row in rows if row is not None]

    def keep_until(self, step: int) -> list[Row]:
        """Drop what came after `step`: a resumed run reports those steps again.

        Args:
            step: the last step that is kept.

        Returns:
            The rows that stay.
        """
        kept = [row for row in self.read() if row.step <= step]
        with write_atomically(self.path) as temporary:
            temporary.write_text(_header() + _as_csv(kept), encoding="utf-8")
        return kept


def _cut_torn_line(file: FileIO) -> int:
    """Cut a file back to its last line end, and return its length."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read() != b"\n":
            file.seek(0)
            end = file.read().rfind(b"\n") + 1
            file.truncate(end)
    return end


def _parsed(row: Mapping[str, str]) -> Row | None:
    try:
        return Row(int(row["step"]), row["name"], float(row["value"]), float(row["unix_seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


def _header() -> str:
    return _line(COLUMNS)


def _as_csv(rows: Iterable[Row]) -> str:
    return "".join(
        _line((row.step, row.name, f"{row.value:.9g}", f"{row.unix_seconds:.3f}")) for row in rows
    )


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
