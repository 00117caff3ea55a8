"""Fixtures that all tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, settings

SHARED = Path(os.environ.get("MEDSEMI_SHARED", Path(__file__).parents[2] / "shared"))
REPOSITORY = Path(__file__).parents[1]

# The same examples in every run, and no deadline: a loaded machine is no defect.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two processes of two threads on two cores can be nine times slower than one of one."""
    torch.set_num_threads(1)


def _require(path: Path) -> Path:
    if path.exists():
        return path
    reason = f"{path} is absent; set MEDSEMI_SHARED to the folder with the reference data"
    if os.environ.get("MEDSEMI_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data, outside the repository."""
    return _require(SHARED)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers made by running the published code."""
    return _require(SHARED / "golden")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def reference_logits() -> SimpleNamespace:
    """Logits a, b, c (2, 3, 4, 5) in float64 and a label, by formula; numbers of losses use them."""
    i = torch.arange(120, dtype=torch.float64).view(2, 3, 4, 5)
    return SimpleNamespace(
        a=2 * torch.sin(0.7 * i),
        b=2 * torch.cos(1.3 * i) + 0.5 * torch.sin(0.2 * i),
        c=0.3 * torch.sin(2.1 * i),
        label=(torch.arange(40).view(2, 4, 5) * 7 % 3).to(torch.uint8),
    )


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Warnings of a module, without those of threads that another test started."""
    caplog.set_level(logging.WARNING, "medsemi")
    return lambda module: [each.getMessage() for each in caplog.records if each.name == module]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped, with the reason, where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
