"""One run at a time in an output folder; shards of one archive side by side.

A lock is a file that says which process holds it. Its modification time is refreshed while the
process lives, so that a lock on a shared disk whose owner is gone can be told from one in use.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from medsemi.prediction.codes import RunStopped

LOCKED = 4
REFRESH_S, ABANDONED_S = 30.0, 600.0
# A process that takes over waits this long before it believes that no other did so too.
SETTLE_S = 0.5
_NAME = re.compile(r"\.medsemi-lock(?:-(\d+)-of-(\d+))?")


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        host: its name.
        boot: identity of this start of the host; empty where the system does not tell.
        pid: number of the process.
        born: start of the process in ticks since boot; 0 where the system does not tell.
        token: tells apart two owners that are equal in everything else.
        namespace: in which the number counts, as each container has its own; empty where the system
            does not tell, and in locks of earlier versions.
    """

    host: str
    boot: str
    pid: int
    born: int
    token: str
    namespace: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether the process has surely ended; one in another host or container may be alive."""
        if self.host != socket.gethostname() or self.namespace not in ("", _namespace()):
            return False
        if self.boot != _boot():
            return True
        return not _runs(self.pid) or self.born != _born(self.pid)


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(pid: int) -> int:
    try:
        # The name of the program, in parentheses, may itself hold spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _runs(pid: int) -> bool:
    if os.name == "nt":  # where the question would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Held:
    """A lock that this process holds.

    Attributes:
        path: the file.
        owner: this process.
        lost: set once another process has taken the lock over, such as after a long sleep of the
            machine; the run must stop then.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self.lost, self._released = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True, name="lock")
        self._thread.start()

    def _refresh(self) -> None:
        while not self._released.wait(REFRESH_S):
            if _read(self.path) not in (self.owner, None):
                self.lost.set()
                return
            # A shared disk may be away for a moment; that alone does not end the run.
            with suppress(OSError):
                os.utime(self.path)

    def check(self) -> None:
        """Go on only while the lock is ours.

        Raises:
            RunStopped: E11, exit code 4: another process has taken it over.
        """
        if self.lost.is_set():
            raise _in_use(self.path)

    def release(self) -> None:
        """Give the lock back, unless another process has it by now."""
        self._released.set()
        self._thread.join()
        if _read(self.path) == self.owner:
            self.path.unlink(missing_ok=True)


def lock_path(out: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    """The lock file of a shard (index from 1, count) of an output folder."""
    index, count = shard
    return out / (".medsemi-lock" if count == 1 else f".medsemi-lock-{index}-of-{count}")


def others_at_work(out: Path, own: Path | None = None) -> list[Path]:
    """Locks of this folder, other than `own`, whose owners may be alive."""
    return [
        path
        for path in sorted(out.glob(".medsemi-lock*"))
        if path != own and _NAME.fullmatch(path.name) and not _is_abandoned(path)
    ]


@contextmanager
def hold(path: Path) -> Iterator[Held]:
    """Hold a lock file.

    Args:
        path: the file; its folder exists.

    Yields:
        The lock.

    Raises:
        RunStopped: exit code 4; E11: another process holds it, E15: the file cannot be written.
    """
    try:
        held = _take(path)
    except OSError as error:
        raise not_writable(path.parent, error) from error
    try:
        yield held
    finally:
        held.release()


@contextmanager
def hold_folder(out: Path, shard: tuple[int, int] = (1, 1)) -> Iterator[Held]:
    """Hold an output folder, or one shard of it.

    Args:
        out: the output folder; it exists.
        shard: index from 1, and count.

    Yields:
        The lock.

    Raises:
        RunStopped: as `hold`; E11 too if a run is at work that may touch the same cases: with a
            shard, all but the other shards of the same count.
    """
    path = lock_path(out, shard)
    with hold(path) as held:
        for other in others_at_work(out, path):
            if not _side_by_side(path, other):
                raise _in_use(other)
        yield held


def not_writable(out: Path, error: OSError) -> RunStopped:
    """The exception E15 for an output folder that cannot be written."""
    return RunStopped("E15", LOCKED, out=str(out), why=error.strerror or type(error).__name__)


def _side_by_side(first: Path, second: Path) -> bool:
    """Whether two locks are those of two shards of one division."""
    counts = [match and match[2] for match in map(_NAME.fullmatch, (first.name, second.name))]
    return counts[0] is not None and counts[0] == counts[1]


def _take(path: Path) -> Held:
    pid = os.getpid()
    token = secrets.token_hex(8)
    owner = Owner(socket.gethostname(), _boot(), pid, _born(pid), token, _namespace())
    content = json.dumps(asdict(owner))
    try:
        _write_new(path, content)
    except FileExistsError:
        if not _is_abandoned(path):
            raise _in_use(path) from None
        _take_over(path, owner, content)
    return Held(path, owner)


def _write_new(path: Path, content: str) -> None:
    """Write a file that is not there yet; on a full disk nothing of it is left.

    Raises:
        FileExistsError: it is there.
    """
    with path.open("x", encoding="utf-8") as file:
        written = False
        try:
            file.write(content)
            file.flush()
            written = True
        finally:
            if not written:
                path.unlink(missing_ok=True)


def _take_over(path: Path, owner: Owner, content: str) -> None:
    """Put our name into the file. Of several that do so at once, the last one has it."""
    ours = path.with_name(f".{owner.token}{path.name}")
    _write_new(ours, content)
    ours.replace(path)
    time.sleep(SETTLE_S)
    if _read(path) != owner:
        raise _in_use(path)


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _is_abandoned(path: Path) -> bool:
    try:
        untouched = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    owner = _read(path)
    return untouched > ABANDONED_S or (owner is not None and owner.is_dead)


def _in_use(path: Path) -> RunStopped:
    owner = _read(path)
    host, pid = (owner.host, owner.pid) if owner else ("unknown host", "unknown process")
    return RunStopped("E11", LOCKED, host=host, pid=pid)
