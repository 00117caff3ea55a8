"""Scans of one name in several runs over one folder: each keeps its own result, and has only one."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import STAGES

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
Go = Callable[..., Any]
Write = Callable[..., Path]
records = FAKE.records


@pytest.fixture
def go(model: Path, out: Path) -> Go:
    """Runs over real files; returns what was told."""
    stages = replace(FAKE.make_stages(), discover=STAGES.discover)

    def run(*inputs: Path, stages: Any = stages, **options: Any) -> Any:
        told = FAKE.Told()
        predict(inputs, model, out, Options(**options), told, stages)
        return told

    return run


def write_series(write: Write, folder: str, series: str = "1.2.3", **elements: Any) -> None:
    """Twelve slices, which differ from those of any other series."""
    for z in range(12):
        uids = {"SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.{z + 1}"}
        write(f"{folder}/{z:02}", z, **(uids | elements))


def notes(told: Any) -> list[str]:
    return [sentence for _, code, sentence in told.lines if code == "note"]


def test_a_line_at_the_end_of_a_name_is_its_own(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    write_series(write_image, "in/CT (1)")
    told = go(tmp_path / "in", names="path")
    assert list(records(out)) == ["CT__1_"]
    assert notes(told) == []
