"""Streams that nobody reads any more: a closed pipe, a full disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def silence(stream: TextIO) -> None:
    """Drop what a stream of the process still holds, and all that it is given later.

    What it holds would be written at the end of the process at the latest, which would fail with it.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Unread:
    """A stream that falls silent once nobody takes what it is given.

    A run goes on without those who watched it; its folder says the same.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever a stream has)
        """What else a stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        with self._silenced():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what waits."""
        with self._silenced():
            self._stream.flush()

    @contextmanager
    def _silenced(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            silence(self._stream)
