"""Damages files in thousands of ways and lets the program read them, in processes that may die.

    python tests/hostile/campaign.py --count 50000

prints one JSON object on standard output: how many mutants, how long, the codes, and everything that went wrong. A
mutant is its number and the seed: `--first NUMBER --count 1` makes one again.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bases

HERE = Path(__file__).parent
# Of one mutant: computing, so that a busy machine is not taken for an endless loop, and in all.
LONGEST_SECONDS, LONGEST_WAIT = 10.0, 120.0
# Starting Python and its libraries comes before the first mutant.
START_SECONDS = 600.0


class Worker:
    """A process that judges mutants, in its own copy of the files."""

    def __init__(self, good: Path, seed: int, patience: float, fault: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="worker", dir=good.parent))
        shutil.copytree(good, self.folder, dirs_exist_ok=True)
        # Two arenas: each of many threads would reserve 64 MB of addresses.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), str(self.folder), str(seed), fault],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.patience, self.longest_wait = patience, patience / LONGEST_SECONDS * LONGEST_WAIT
        self.answers = False

    def judge(self, number: int) -> dict[str, Any]:
        """The verdict on one mutant; `dead` if the process did not survive it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        answered = self._answered()
        line = self.process.stdout.readline() if answered else b""
        if line:
            self.answers = True
            return json.loads(line)
        ended = f"ended with {self.process.wait(LONGEST_WAIT)}" if answered else "hangs"
        self.close()
        return {"number": number, "wrong": ended, "dead": True}

    def _answered(self) -> bool:
        """Wait for an answer or the end of the process; false if it takes too long."""
        start, computed = time.monotonic(), self._seconds_computed()
        while not select.select([self.process.stdout], [], [], 0.25)[0]:
            waited = time.monotonic() - start
            if not self.answers:
                too_long = waited > START_SECONDS
            else:
                busy = self._seconds_computed() - computed
                too_long = busy > self.patience or waited > self.longest_wait
            if too_long:
                return False
        return True

    def _seconds_computed(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process and remove its files."""
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder)


@dataclass
class Tally:
    """What became of the mutants so far."""

    mutants: int = 0
    read: int = 0
    slowest: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, verdict: dict[str, Any]) -> None:
        """Count one verdict."""
        self.mutants += 1
        self.read += bool(verdict.get("read"))
        self.slowest = max(self.slowest, verdict.get("seconds", 0.0))
        self.kinds[str(verdict.get("base", "dead")).split("-")[0]] += 1
        self.codes.update(verdict.get("codes", []))
        if "wrong" in verdict:
            self.wrong.append(verdict)
            sys.stderr.write(json.dumps(verdict) + "\n")


def campaign(options: argparse.Namespace) -> Tally:
    """Judge mutants, shared among workers.

    Args:
        options: of the command line.
    """
    tally, numbers = Tally(), iter(range(options.first, options.first + options.count))
    end, lock = time.monotonic() + options.seconds, threading.Lock()
    with tempfile.TemporaryDirectory() as temporary:
        good = Path(temporary) / "good"
        good.mkdir()
        bases.build(options.shared, good)

        def work(_: int) -> None:
            worker = Worker(good, options.seed, options.patience, options.fault)
            while time.monotonic() < end:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                verdict = worker.judge(number)
                with lock:
                    tally.add(verdict)
                if verdict.get("dead"):
                    worker = Worker(good, options.seed, options.patience, options.fault)
            worker.close()

        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(work, range(options.workers)))
    return tally


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="of mutants")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--patience", type=float, default=LONGEST_SECONDS, help="with one mutant")
    parser.add_argument("--fault", choices=["all"], default="", help="show that faults are found")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared")
    options = parser.parse_args()
    start = time.monotonic()
    tally = campaign(options)
    seconds = {"seconds": round(time.monotonic() - start, 1)}
    sys.stdout.write(json.dumps(seconds | vars(tally), indent=1) + "\n")
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
