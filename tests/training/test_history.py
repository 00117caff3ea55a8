"""The table of a run survives kills and resumes."""

from __future__ import annotations

import csv
import math
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.errors import OutputError
from medsemi.training.history import COLUMNS, History, Row


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.csv")


def row(step: int, name: str = "loss", value: float = 0.5) -> Row:
    return Row(step, name, value, 1_700_000_000.125)


def test_appended_rows_are_read_back_in_order(history: History) -> None:
    history.append([row(1), row(1, 'a, b"c')])
    history.append([row(2, value=math.inf)])
    assert history.read() == [row(1), row(1, 'a, b"c'), row(2, value=math.inf)]


def test_a_history_that_does_not_exist_is_empty_and_nothing_appended_makes_no_file(
    history: History,
) -> None:
    history.append([])
    assert history.read() == []
    assert not history.path.exists()


def test_the_file_is_a_plain_table_with_one_header(history: History) -> None:
    history.append([row(1)])
    history.append([row(2)])
    with history.path.open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        list(COLUMNS),
        ["1", "loss", "0.5", "1700000000.125"],
        ["2", "loss", "0.5", "1700000000.125"],
    ]


def test_rows_after_the_resumed_step_are_dropped_for_good(history: History) -> None:
    history.append([row(step) for step in (1, 2, 3, 4)])
    assert history.keep_until(2) == [row(1), row(2)]
    history.append([row(3, value=0.25)])
    assert history.read() == [row(1), row(2), row(3, value=0.25)]


@pytest.mark.parametrize("torn", ["3", "3,lo", "3,loss,0.2", "3,loss,0.25,17000"])
def test_a_line_torn_by_a_kill_is_left_out_and_does_not_spoil_the_next(
    history: History, torn: str
) -> None:
    history.append([row(1), row(2)])
    with history.path.open("a") as file:
        file.write(torn)
    assert history.read() == [row(1), row(2)]
    assert history.keep_until(5) == [row(1), row(2)]
    history.append([row(3)])
    assert history.read() == [row(1), row(2), row(3)]


def test_a_line_torn_in_the_middle_of_the_table_is_left_out(history: History) -> None:
    """As a full disk leaves it, with later lines after it."""
    history.append([row(1)])
    with history.path.open("a") as file:
        file.write("2,lo3,loss,0.25,17\n4,loss\n5,loss,x,17.0,\n")
    history.append([row(6)])
    assert history.read() == [row(1), row(6)]
    assert history.keep_until(6) == [row(1), row(6)]


@pytest.mark.parametrize("torn", ["st", "step,name,value,unix_seconds\n3,lo"])
def test_rows_after_a_torn_line_are_whole(history: History, torn: str) -> None:
    history.path.write_text(torn)
    history.append([row(4)])
    assert history.read() == [row(4)]


def test_a_full_disk_is_told_in_one_sentence_and_leaves_no_half_of_a_report(
    history: History,
) -> None:
    history.append([row(1)])
    before = history.path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"history\.csv: cannot be written"):
            history.append([row(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert history.path.read_text() == before


def test_nothing_half_written_is_left_beside_the_table(history: History) -> None:
    history.append([row(1)])
    history.keep_until(0)
    assert [path.name for path in history.path.parent.iterdir()] == ["history.csv"]


@settings(deadline=None)
@given(st.floats(width=32))
def test_every_float32_survives_the_text(
    tmp_path_factory: pytest.TempPathFactory, value: float
) -> None:
    history = History(tmp_path_factory.mktemp("history") / "history.csv")
    history.append([row(1, value=value)])
    np.testing.assert_array_equal(np.float32(history.read()[0].value), np.float32(value))
