"""Files that are whole or absent, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medsemi.atomic import make_writable, remove_unfinished, whole_files, write_atomically
from medsemi.errors import OutputError

WRITER = """
import sys, time
from medsemi.atomic import remove_unfinished, whole_files, write_atomically
with write_atomically(sys.argv[1]) as temporary:
    with temporary.open("wb") as file:
        file.write(b"half of the new")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def test_the_file_and_its_folder_are_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "weights.nii.gz"
    with write_atomically(str(target)) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith("weights.nii.gz")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "last.pt"
    target.write_text("old")

    def fill_the_disk() -> None:
        with write_atomically(target) as temporary:
            temporary.write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        fill_the_disk()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    target = tmp_path / "file" / "folder" / "new.json"
    sentence = r"new\.json: cannot be written \(Not a directory\)"
    with pytest.raises(OutputError, match=sentence), write_atomically(target):
        pass
    with (
        pytest.raises(OutputError, match="No space left") as caught,
        write_atomically(tmp_path / "full"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OutputError, match="No space left"), write_atomically(tmp_path / "full"):
        raise OSError("64 requested and 12 written")  # as numpy says it
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "copy") as temporary:
        temporary.write_bytes((tmp_path / "absent").read_bytes())


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    for _ in range(2):
        make_writable(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_place_where_no_folder_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # Not even root can write into /proc.
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc")):
        with pytest.raises(OutputError, match=f"^{place}: cannot be written") as caught:
            make_writable(place)
        assert caught.value.errno is not None


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "last.pt"
    target.write_text("old")
    command = [sys.executable, "-c", WRITER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert target.read_text() == "old"
    left = [path for path in tmp_path.iterdir() if path != target]
    assert [path.read_text() for path in left] == ["half of the new"]
    with write_atomically(target) as temporary:
        temporary.write_text("newer")
    assert target.read_text() == "newer"


def test_the_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, events = tmp_path / "last.pt", []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda _: events.append("flush"))
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append("rename"), replace(a, b))[1])
    with write_atomically(target) as temporary:
        temporary.write_text("new")
    assert events == ["flush", "rename", "flush"]


def test_what_a_kill_left_is_passed_over_and_removed(tmp_path: Path) -> None:
    for name in ("last.pt", ".4711.last.pt", ".lock", ".4711"):
        (tmp_path / name).touch()
    assert whole_files(tmp_path, "*.pt") == [tmp_path / "last.pt"]
    assert whole_files(tmp_path / "absent", "*.pt") == []
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", ".lock", ".4711"}
