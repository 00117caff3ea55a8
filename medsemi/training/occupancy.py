"""One process at a time in a run folder, so that no two of them write one training."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medsemi.errors import MedsemiError, OutputError

LOCK = ".lock"


@contextmanager
def occupied(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of a run folder; the system lets go when this one ends in any way.

    Args:
        folder: the run folder of a stage; made if needed. Its file `.lock` stays, and tells nothing.

    Raises:
        MedsemiError: if another process works there.
        OutputError: if the folder cannot be written.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(path)) from error
    with file:
        _lock(file, path)
        yield


def _lock(file: IO[str], path: Path) -> None:
    try:
        # Not `flock`, which workers that prepare batches would hold on to after a kill.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        raise MedsemiError(
            f"{path.parent} is in use by another process ({file.read().strip() or 'unknown'}); wait"
            " until it has ended, or end it."
        ) from error
    except OSError:
        return  # a file system without locks
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
