"""Inputs, a model and an output folder of the run in `fake_run.py`; a segmenter of a small bundle and its grid."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction.case import Grid
from medsemi.prediction.model import load_model
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options


def _beside(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name))))


FAKE, SMALL, CASE = map(_beside, ("fake_run.py", "small_bundle.py", "small_case.py"))
Make = Callable[..., Segmenter]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(FAKE.write_model(tmp_path / "bundle"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return Path(FAKE.write_inputs(tmp_path / "in", 4))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def grid() -> Grid:
    return Grid(CASE.SHAPE, CASE.AFFINE)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(classes: int = 2, options: Options | None = None, **settings: Any) -> Segmenter:
        folder = SMALL.write_bundle(
            tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}", classes, **settings
        )
        return Segmenter(load_model(folder), options or Options(device="cpu"))

    return make
