"""One run in a folder, shards side by side, and locks whose owner is gone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction import lock
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.lock import Owner, hold, hold_folder, lock_path, others_at_work


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)


class _Full:
    """A file on a disk that has no room for its content."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def us() -> Owner:
    pid = os.getpid()
    return Owner(
        lock.socket.gethostname(), lock._boot(), pid, lock._born(pid), "other", lock._namespace()
    )


def ended_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def leave(path: Path, owner: Owner, age: float = 0.0) -> Path:
    path.write_text(json.dumps(asdict(owner)))
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def refused(out: Path, shard: tuple[int, int] = (1, 1)) -> RunStopped:
    with pytest.raises(RunStopped) as stop, hold_folder(out, shard):
        pytest.fail("the lock was given")
    assert stop.value.exit_code == 4
    return stop.value


def test_one_at_a_time(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        assert str(os.getpid()) in str(refused(tmp_path).finding)
        assert lock_path(tmp_path).exists()
    assert not list(tmp_path.iterdir())
    with hold_folder(tmp_path):
        pass


def test_a_living_owner_keeps_its_lock(tmp_path: Path) -> None:
    leave(lock_path(tmp_path), us())
    assert refused(tmp_path).finding.code == "E11"


def test_the_lock_of_an_ended_process_is_taken_over(tmp_path: Path) -> None:
    leave(lock_path(tmp_path), replace(us(), pid=ended_pid()))
    with hold_folder(tmp_path) as held:
        assert json.loads(held.path.read_text())["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc").exists(), reason="the system does not tell")
@pytest.mark.parametrize("change", [{"born": 1}, {"boot": "another"}])
def test_another_process_with_the_same_number_is_not_the_owner(
    tmp_path: Path, change: dict[str, object]
) -> None:
    leave(lock_path(tmp_path), replace(us(), **change))
    with hold_folder(tmp_path):
        pass


def test_a_process_of_another_container_may_be_alive_though_it_is_not_seen(tmp_path: Path) -> None:
    leave(lock_path(tmp_path), replace(us(), pid=ended_pid(), namespace="pid:[1]"), age=500)
    assert refused(tmp_path).finding.code == "E11"
    leave(lock_path(tmp_path), replace(us(), namespace="pid:[1]"), age=601)
    with hold_folder(tmp_path):
        pass


def test_a_lock_tells_the_container_of_its_owner(tmp_path: Path) -> None:
    with hold_folder(tmp_path) as held:
        assert json.loads(held.path.read_text())["namespace"] == lock._namespace()
    assert lock._namespace() or not Path("/proc/self/ns/pid").exists()


@pytest.mark.parametrize("alive", [True, False])
def test_locks_of_earlier_versions_are_read(alive: bool, tmp_path: Path) -> None:
    owner = asdict(us() if alive else replace(us(), pid=ended_pid()))
    del owner["namespace"]
    lock_path(tmp_path).write_text(json.dumps(owner))
    if alive:
        assert str(os.getpid()) in str(refused(tmp_path).finding)
    else:
        with hold_folder(tmp_path):
            pass


def test_a_lock_of_another_host_is_abandoned_after_ten_minutes(tmp_path: Path) -> None:
    far = replace(us(), host="elsewhere", pid=2**22 + 1)
    leave(lock_path(tmp_path), far, age=500)
    assert "elsewhere" in str(refused(tmp_path).finding)
    leave(lock_path(tmp_path), far, age=601)
    with hold_folder(tmp_path):
        pass


def test_a_lock_that_cannot_be_read_counts_until_it_is_old(tmp_path: Path) -> None:
    path = lock_path(tmp_path)
    path.write_text("")
    assert refused(tmp_path).finding.code == "E11"
    os.utime(path, (0, 0))
    with hold_folder(tmp_path):
        pass


def test_shards_of_one_division_are_side_by_side(tmp_path: Path) -> None:
    with hold_folder(tmp_path, (1, 3)), hold_folder(tmp_path, (2, 3)):
        assert len(others_at_work(tmp_path)) == 2
        refused(tmp_path, (2, 3))
        refused(tmp_path, (3, 4))
        refused(tmp_path)
    with hold_folder(tmp_path):
        refused(tmp_path, (1, 3))
    assert not list(tmp_path.iterdir())


def test_of_many_that_take_over_one_has_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", 0.3)
    path = leave(tmp_path / "lock", replace(us(), host="elsewhere"), age=1000)
    start, ours = threading.Barrier(8), []
    end = threading.Barrier(9)

    def take() -> None:
        start.wait()
        try:
            with hold(path) as held:
                ours.append(held.owner.token)
                end.wait(10)
        except RunStopped:
            end.wait(10)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    end.wait(10)
    for thread in threads:
        thread.join()
    assert len(ours) == 1


def test_the_owner_notices_that_it_lost_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "REFRESH_S", 0.02)
    with hold(tmp_path / "lock") as held:
        held.check()
        leave(held.path, replace(us(), host="thief"))
        assert held.lost.wait(5)
        with pytest.raises(RunStopped, match="thief"):
            held.check()
    assert held.path.exists()  # it is the other's now


def test_the_lock_is_refreshed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "REFRESH_S", 0.02)
    with hold(tmp_path / "lock") as held:
        os.utime(held.path, (0, 0))
        deadline = time.monotonic() + 5
        while held.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - held.path.stat().st_mtime < 10


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    stop = refused(tmp_path / "absent")
    assert f"E15 Output folder {tmp_path / 'absent'} cannot be written (No such" in str(
        stop.finding
    )


@pytest.mark.parametrize("left", [False, True])
def test_a_full_disk_leaves_no_lock(
    left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one would keep the next run out for ten minutes."""

    def opened(path: Path, *arguments: Any, **named: Any) -> Any:
        stream = original(path, *arguments, **named)
        return stream if stream.mode in ("r", "rb") else _Full(stream)

    original = Path.open
    if left:
        leave(lock_path(tmp_path), replace(us(), host="elsewhere"), age=1000)
    before = [path.name for path in tmp_path.iterdir()]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        stop = refused(tmp_path)
    assert stop.finding.code == "E15"
    assert "No space left" in stop.finding.text
    assert [path.name for path in tmp_path.iterdir()] == before
    with hold_folder(tmp_path):
        pass
