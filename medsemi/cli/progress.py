"""What `medsemi predict` shows: findings as lines, progress as bars where there is a terminal.

Findings go to standard output, the bars to standard error. Piped, there are no bars and no colors.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from medsemi.cli.inspect import printable
from medsemi.cli.screen import Screen
from medsemi.cli.streams import Unread
from medsemi.prediction.console import Console

_STYLES = {"S": "dim", "R": "yellow", "U": "yellow", "W": "cyan", "E": "red", "d": "green"}
_ROWS = {
    "done": "segmented",
    "already": "already done",
    "refused": "refused",
    "failed": "failed",
    "skipped": "skipped",
}


class Terminal:
    """Lines on standard output, and on a terminal two kinds of bar: all cases, and each at work."""

    def __init__(self, out: Path, lines: Screen, bars: Progress) -> None:
        self._out, self._lines, self._bars = out, lines, bars
        self._lock = threading.Lock()
        self._all = bars.add_task("looking at files", total=None)
        self._cases: dict[str, TaskID] = {}
        self._known = self._count = 0

    def files(self, count: int) -> None:
        """So many files have been looked at."""
        self._bars.update(self._all, description=f"looking at files: {count}")

    def begin(self, cases: int) -> None:
        """So many cases are known."""
        self._known = cases
        self._bars.update(self._all, description=f"cases 0/{cases}", total=cases)

    def stage(self, case_id: str, stage: str) -> None:
        """A case has reached a stage."""
        text = f"  {case_id} {stage}"
        with self._lock:
            if case_id not in self._cases:
                self._cases[case_id] = self._bars.add_task(text, total=None)
            self._bars.update(self._cases[case_id], description=text, total=None)

    def part(self, case_id: str, done: float) -> None:
        """So much of the stage is done, 0 to 1."""
        with self._lock:
            if case_id in self._cases:
                self._bars.update(self._cases[case_id], total=1.0, completed=done)

    def say(self, case_id: str, code: str, sentence: str) -> None:
        """One line: case, code, sentence."""
        line = Text(printable(f"{case_id} {code} {sentence}"), style=_STYLES.get(code[:1], ""))
        self._lines.print(line, soft_wrap=True)

    def finished(self, case_id: str) -> None:
        """One case less to do."""
        with self._lock:
            task = self._cases.pop(case_id, None)
            if task is not None:
                self._bars.remove_task(task)
        self._bars.advance(self._all)
        self._count += 1
        self._bars.update(self._all, description=f"cases {self._count}/{self._known}")

    def end(self, counts: Mapping[str, int]) -> None:
        """How many cases ended how, and where the report is."""
        self._bars.stop()
        table = Table(box=None, show_header=False, pad_edge=False)
        for outcome, words in _ROWS.items():
            if counts.get(outcome):
                table.add_row(words, str(counts[outcome]))
        self._lines.print(table)
        report = self._out / "report.html"
        if report.exists():
            self._lines.print(Text(printable(f"report: {report}")), soft_wrap=True)


def _screen(stream: TextIO) -> Screen:
    return Screen(file=cast("TextIO", Unread(stream)), highlight=False)


@contextmanager
def make_console(out: Path) -> Iterator[Console]:
    """Show a run until it ends.

    Rich itself respects `NO_COLOR`, `FORCE_COLOR` and terminals that cannot move the cursor.

    Args:
        out: the output folder, in which the report will lie.

    Yields:
        What is to be told.
    """
    progress = _screen(sys.stderr)
    # While bars stand on the same terminal, lines must pass through them.
    lines = progress if sys.stdout.isatty() and progress.is_terminal else _screen(sys.stdout)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=progress,
        disable=not progress.is_terminal,
        transient=True,
    )
    with bars:
        yield Terminal(out, lines, bars)
