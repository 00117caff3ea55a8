"""Cases are read ahead in order and within bounds; writing goes on behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import TimeoutError as Unfinished
from pathlib import Path

import numpy as np
import pytest

from medsemi.prediction.ahead import Behind, read_ahead, volume_bytes
from medsemi.prediction.case import Case, Grid, Source


def make(number: int, side: int = 10) -> Case:
    source = Source("nifti", "", Path(str(number)), str(number), 1)
    grid = Grid((side, side, side), np.eye(4))
    return Case(str(number), str(number), "volume", (), "predict", (), source, grid)


class Reader:
    """Counts what has begun, and what runs at the same time."""

    def __init__(self, together: int = 1) -> None:
        self.begun: list[str] = []
        self.now = self.most = 0
        self.lock, self.meeting = threading.Lock(), threading.Barrier(together)

    def __call__(self, case: Case) -> str:
        with self.lock:
            self.begun.append(case.key)
            self.now += 1
            self.most = max(self.most, self.now)
        self.meeting.wait(30)  # breaks where fewer are at work
        with self.lock:
            self.now -= 1
        return case.key


def settle(reader: Reader, count: int) -> list[str]:
    """What has begun, once so many have; a short while shows whether more do."""
    deadline = time.monotonic() + 10
    while len(reader.begun) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    return sorted(reader.begun)


def test_results_come_in_order() -> None:
    def read(case: Case) -> str:
        time.sleep(0.02 * (3 - int(case.key) % 3))
        return case.key

    cases = [make(number) for number in range(9)]
    futures = read_ahead(cases, read, at_once=2, limit=1e9)
    assert [future.result() for future in futures] == [case.key for case in cases]


def test_at_most_two_are_ahead() -> None:
    reader = Reader()
    futures = read_ahead([make(number) for number in range(9)], reader, 2, 1e9)
    assert settle(reader, 0) == []
    next(futures)
    assert settle(reader, 3) == ["0", "1", "2"]
    next(futures)
    assert settle(reader, 4) == ["0", "1", "2", "3"]


def test_large_cases_are_not_read_before_they_are_due() -> None:
    reader = Reader()
    cases = [make(0), make(1, side=100), make(2)]
    futures = read_ahead(cases, reader, 2, limit=volume_bytes(make(0)) * 2)
    next(futures)
    assert settle(reader, 1) == ["0"]
    assert next(futures).result() == "1"
    assert settle(reader, 3) == ["0", "1", "2"]
    assert [future.result() for future in futures] == ["2"]


@pytest.mark.parametrize("at_once", [1, 2])
def test_so_many_are_read_at_once(at_once: int) -> None:
    reader = Reader(at_once)
    for future in read_ahead([make(number) for number in range(6)], reader, at_once, 1e9):
        future.result()
    assert reader.most == at_once


def test_an_exception_belongs_to_its_case() -> None:
    def read(case: Case) -> str:
        if case.key == "1":
            raise ValueError(case.key)
        return case.key

    futures = list(read_ahead([make(number) for number in range(3)], read, 2, 1e9))
    assert futures[0].result() == "0"
    with pytest.raises(ValueError, match="1"):
        futures[1].result()
    assert futures[2].result() == "2"


def test_sizes() -> None:
    assert volume_bytes(make(0)) == 4000


def test_writing_is_one_after_the_other() -> None:
    behind, order = Behind(), []
    gate = threading.Event()
    behind.then(lambda: gate.wait(5) and order.append(1))
    with pytest.raises(Unfinished):
        behind.wait(0.01)
    # A wait that was given up does not let the next piece pass.
    threading.Timer(0.05, gate.set).start()
    for number in (2, 3):
        behind.then(lambda number=number: order.append(number))  # type: ignore[misc]
    behind.wait()
    assert order == [1, 2, 3]


def test_the_exception_of_writing_comes_to_the_caller() -> None:
    behind = Behind()

    def fail() -> None:
        raise ValueError("full")

    behind.then(fail)
    with pytest.raises(ValueError, match="full"):
        behind.then(lambda: None)
    behind.wait()


def test_an_interrupted_wait_can_be_repeated() -> None:
    behind, done = Behind(), []

    class Stop(BaseException):
        pass

    class Last:
        def result(self, seconds: float | None) -> None:
            done.append(seconds)
            if len(done) == 1:
                raise Stop

        def done(self) -> bool:
            return len(done) > 1

    behind._last = Last()  # type: ignore[assignment]
    with pytest.raises(Stop):
        behind.wait()
    behind.wait(5)
    behind.wait(5)
    assert done == [None, 5]
