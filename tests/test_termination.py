"""A terminated command ends the child that it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

WAITING = """
import subprocess, sys
from medsemi.termination import exit_when_terminated
exit_when_terminated()
subprocess.run([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(99)"])
"""


def test_the_child_ends_with_its_parent() -> None:
    line = [sys.executable, "-c", WAITING]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
