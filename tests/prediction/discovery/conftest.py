"""Frames made by hand, and what the manifest of the samples expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options


@pytest.fixture(scope="session")
def samples(shared: Path) -> Path:
    return shared / "data" / "dicom"


@pytest.fixture(scope="session")
def manifest(samples: Path) -> dict[str, Any]:
    return json.loads((samples / "manifest.json").read_text())


@pytest.fixture
def cases_of() -> Callable[..., list[Case]]:
    """Cases of some inputs, with options by name."""

    def find(*inputs: Path, **options: Any) -> list[Case]:
        return list(discover(inputs, Options(**options)).cases)

    return find


@pytest.fixture
def frame() -> Callable[..., Frame]:
    """A frame of an axial stack."""

    def make(
        position: Sequence[float] = (0, 0, 0),
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        spacing: tuple[float, float] = (1.0, 1.0),
        uid: str = "",
        **keys: Any,
    ) -> Frame:
        place = Place(tuple(map(float, position)), tuple(map(float, orientation)), spacing)
        return Frame(Path(uid or "x"), 0, uid, (16, 16), "1.2.3", place, keys=keys)

    return make
