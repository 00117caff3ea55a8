"""What a run tells whoever started it, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Console(Protocol):
    """Where progress is shown. Called from several threads; never with an identifying tag."""

    def files(self, count: int) -> None:
        """So many files have been looked at."""

    def begin(self, cases: int) -> None:
        """So many cases are known, of all kinds."""

    def stage(self, case_id: str, stage: str) -> None:
        """A case is now being `reading`, `network` or `writing`."""

    def part(self, case_id: str, done: float) -> None:
        """So much of the stage is done, 0 to 1."""

    def say(self, case_id: str, code: str, sentence: str) -> None:
        """One line about a case; `-` stands for the run itself."""

    def finished(self, case_id: str) -> None:
        """All is known about one more case."""

    def end(self, counts: Mapping[str, int]) -> None:
        """The run is over; so many cases of each outcome."""


class Silent:
    """Tells nothing, for programs that call `predict`."""

    def files(self, count: int) -> None:
        """Ignore."""

    def begin(self, cases: int) -> None:
        """Ignore."""

    def stage(self, case_id: str, stage: str) -> None:
        """Ignore."""

    def part(self, case_id: str, done: float) -> None:
        """Ignore."""

    def say(self, case_id: str, code: str, sentence: str) -> None:
        """Ignore."""

    def finished(self, case_id: str) -> None:
        """Ignore."""

    def end(self, counts: Mapping[str, int]) -> None:
        """Ignore."""
