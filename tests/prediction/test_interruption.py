"""Signals: once an exception, then nothing; and all as before at the end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from medsemi.prediction.interruption import Interrupted, interruptible, undisturbed

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _as_before() -> object:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_an_exception_and_more_are_ignored(number: signal.Signals) -> None:
    with interruptible():
        with pytest.raises(Interrupted):
            signal.raise_signal(number)
        os.kill(os.getpid(), number)
        signal.raise_signal(number)


def test_short_work_is_not_disturbed() -> None:
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
        with interruptible(), pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


def test_no_except_exception_swallows_it() -> None:
    assert not issubclass(Interrupted, Exception)


def test_other_threads_change_no_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with undisturbed(), interruptible():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
