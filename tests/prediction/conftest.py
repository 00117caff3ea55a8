"""Inputs, a model and an output folder of the run in `fake_run.py`."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(FAKE.write_model(tmp_path / "bundle"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return Path(FAKE.write_inputs(tmp_path / "in", 4))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
