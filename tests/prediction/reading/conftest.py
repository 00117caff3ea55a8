"""Cases as discovery finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options


@pytest.fixture(scope="session")
def dicom(shared: Path) -> Path:
    """The sample sets."""
    return shared / "data/dicom"


@pytest.fixture(scope="session")
def find() -> Callable[..., list[Case]]:
    """Finds the cases that would be predicted."""

    def find_predictable(*inputs: Path, **options: Any) -> list[Case]:
        cases = discover(list(inputs), Options(**{"series": "all", **options})).cases
        return [case for case in cases if case.outcome == "predict"]

    return find_predictable
