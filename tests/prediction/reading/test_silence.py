"""Warnings are off while any thread reads, and as before when the last one is done."""

from __future__ import annotations

import threading
import warnings

import pytest

from medsemi.prediction.reading.silence import silence


def test_overlapping_readers_restore_the_filters() -> None:
    before = list(warnings.filters)
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with silence:
            first_is_in.set()
            second_is_in.wait(5)
        first_is_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(5)
    with silence:
        second_is_in.set()
        first_is_out.wait(5)
        # The first reader, who switched warnings off, is gone: they stay off for the second.
        warnings.warn("Doe^John", UserWarning, stacklevel=1)
    thread.join()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="heard"):
        warnings.warn("heard again", UserWarning, stacklevel=1)


def test_an_error_ends_the_silence() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="damaged"), silence:
        raise ValueError("damaged")
    assert list(warnings.filters) == before
