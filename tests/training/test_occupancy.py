"""Two processes never work in one run folder, and a dead one keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsemi.errors import MedsemiError, OutputError
from medsemi.training.occupancy import occupied

# It forks, as a training does for the workers that prepare batches; the child outlives the parent.
HOLD = """
import os, sys, time
from medsemi.training.occupancy import occupied
with occupied(sys.argv[1]):
    child = os.fork()
    if child:
        print(os.getpid(), child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The ids of a process that works in the folder, and of its child."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ids = [int(number) for number in process.stdout.readline().split()]
        yield ids[0], ids[1]
        process.kill()
        os.kill(ids[1], signal.SIGKILL)


def test_a_second_process_is_refused_until_the_first_is_gone(
    tmp_path: Path, holder: tuple[int, int]
) -> None:
    folder = tmp_path / "run"
    said = rf"run is in use by another process \({holder[0]}\)"
    with pytest.raises(MedsemiError, match=said), occupied(folder):
        pass
    os.kill(holder[0], signal.SIGKILL)
    os.waitpid(holder[0], 0)
    for _ in range(2):
        with occupied(folder):
            assert (folder / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"), occupied(tmp_path / "file" / "run"):
        pass
