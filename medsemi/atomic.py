"""Files that are written whole or not at all, and read so, and the folders that take them."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medsemi.errors import OutputError

_UNFINISHED = re.compile(r"\.\d+\..+")


def make_writable(folder: str | Path) -> None:
    """Make a folder, and refuse one in which no file can be made, before there is work to lose.

    Args:
        folder: may be there.

    Raises:
        OutputError: if it cannot be made, is a file, or takes no file.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(folder)) from error


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the final name.

    The file is flushed to the disk before it is renamed, and the folder after, so that neither a
    killed process nor a power cut leaves a truncated file under the final name.

    Args:
        path: the final name; its folder is made if needed.

    Yields:
        The temporary path to write to, with the same suffixes as `path`.

    Raises:
        OutputError: if the folder cannot be made or the file cannot be written.
    """
    final = Path(path)
    temporary = final.with_name(f".{os.getpid()}.{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        temporary.replace(final)
        flush(final.parent)
    except OSError as error:
        if _is_short_write(error):
            full = errno.ENOSPC
            raise OutputError(full, os.strerror(full), str(final)) from error
        # The name of another file is that of one that was read in between.
        ours = (None, str(temporary), *map(str, final.parents))
        if error.errno is None or error.filename not in ours:
            raise
        raise OutputError(error.errno, error.strerror, str(final)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def whole_files(folder: str | Path, pattern: str) -> list[Path]:
    """Files of a folder by name, without those that a process is still writing, or was when it was killed.

    Args:
        folder: may be absent.
        pattern: of `Path.glob`, which also matches names that begin with a dot.
    """
    return sorted(path for path in Path(folder).glob(pattern) if not path.name.startswith("."))


def remove_unfinished(folder: str | Path) -> None:
    """Remove what processes that were killed left of files that they were writing.

    Args:
        folder: that this process alone writes to.
    """
    for path in Path(folder).glob(".*"):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _is_short_write(error: OSError) -> bool:
    """Numpy tells a full disk without the number of the error."""
    return (
        error.errno is None and re.search(r"\d+ requested and \d+ written", str(error)) is not None
    )
