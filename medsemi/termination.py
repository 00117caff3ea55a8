"""What ends a process that waits for others: they must not go on alone."""

from __future__ import annotations

import signal
import sys


def exit_when_terminated() -> None:
    """Make of SIGTERM an exit, which, unlike the signal alone, also ends the child that is waited for.

    A training left behind would hold its run folder, and the same command could not continue it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
