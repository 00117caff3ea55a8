"""pydicom warns with the values it reads, which may name a patient: it is silent while we read."""

from __future__ import annotations

import threading
import warnings
from contextlib import AbstractContextManager
from types import TracebackType


class _Silence(AbstractContextManager[None]):
    """No warning is shown while at least one thread is inside.

    The filters of `warnings` belong to the process, not to a thread: two overlapping
    `catch_warnings` would restore each other's filters, so the first in and the last out switch.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


silence = _Silence()
