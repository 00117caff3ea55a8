"""Work beside the main thread: cases are read ahead, results are written behind.

Threads are daemons: a decoder that hangs on a damaged file cannot keep an interrupted run alive.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from medsemi.prediction.case import Case

T = TypeVar("T")
AHEAD = 2
WAITING_SHARE = 0.25


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Start work in a thread of its own.

    Returns:
        What will hold its result or exception.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="medsemi").start()
    return future


def read_ahead(
    cases: Sequence[Case], read: Callable[[Case], T], at_once: int, limit: float
) -> Iterator[Future[T]]:
    """Read cases in their order, while the caller works on those before.

    Args:
        cases: to read.
        read: called in threads, once for each case.
        at_once: most cases that are read at the same time.
        limit: of the bytes that wait for the caller. A case that is larger is read when it is due.

    Yields:
        For each case, in order, what will hold its result. While the caller has it, at most two
        more are being read or wait.
    """
    gate = threading.Semaphore(at_once)
    waiting: deque[tuple[int, Future[T]]] = deque()
    following = deque(cases)

    def start() -> None:
        case = following.popleft()

        def work() -> T:
            with gate:
                return read(case)

        waiting.append((volume_bytes(case), in_thread(work)))

    while following or waiting:
        if not waiting:
            start()
        _, due = waiting.popleft()
        while (
            following
            and len(waiting) < AHEAD
            and sum(size for size, _ in waiting) + volume_bytes(following[0]) <= limit
        ):
            start()
        yield due


def volume_bytes(case: Case) -> int:
    """Memory that the voxels of a case take."""
    return 0 if case.grid is None else int(np.prod(case.grid.shape, dtype=np.int64)) * 4


class Behind:
    """Work that goes on behind the caller's, one piece after the other."""

    def __init__(self) -> None:
        self._last: Future[None] | None = None

    def then(self, work: Callable[[], None]) -> None:
        """Start a piece of work once the one before has ended, whose exception is raised here."""
        self.wait()
        self._last = in_thread(work)

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the last piece, and raise its exception.

        Args:
            seconds: longest wait; None waits until it ends.

        Raises:
            TimeoutError: it has not ended.
        """
        if self._last is None:
            return
        last = self._last
        try:
            last.result(seconds)
        finally:
            # A piece that goes on, after a time-out or an interruption, is waited for again.
            if last.done():
                self._last = None
