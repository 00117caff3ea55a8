"""Every method has a page that says what its code says, and a picture."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from PIL import Image

from medsemi.methods.registry import METHODS, MethodEntry

PICTURES = Path("docs") / "pictures" / "methods"
# The page of CFC-Net has another form, with more than one formula.
OTHER_FORM = {"cfcnet"}
PAGES = [entry for entry in METHODS if entry.name not in OTHER_FORM]
SECTIONS = [
    "Loss", "Settings", "Differences from the authors' code", "Cost", "When to use it",
    "Measured here",
]  # fmt: skip
each_page = pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)


def page(repository: Path, entry: MethodEntry) -> str:
    return (repository / "docs" / "methods" / f"{entry.name}.md").read_text(encoding="utf-8")


def settings(text: str) -> dict[str, str]:
    """Argument -> default, as the table of a page says."""
    table = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", table, re.MULTILINE))


@each_page
def test_the_settings_are_those_of_the_class(repository: Path, entry: MethodEntry) -> None:
    module, _, name = entry.target.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    told = settings(page(repository, entry))
    assert list(told) == [n for n in parameters if n != "network"]
    for argument, default in told.items():
        real = parameters[argument].default
        if real is inspect.Parameter.empty:
            assert default == "required", argument
        elif default == "2 / 3":
            assert real == 2 / 3
        else:
            assert default == repr(real), argument


@each_page
def test_the_cost_is_that_of_the_registry(repository: Path, entry: MethodEntry) -> None:
    cost = page(repository, entry).partition("\n## Cost\n")[2].split()[0].strip(",.:")
    assert float(cost) == pytest.approx(entry.cost, abs=0.006)


@each_page
def test_every_page_has_the_same_sections(repository: Path, entry: MethodEntry) -> None:
    text = page(repository, entry)
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == SECTIONS
    assert text.count("```math") == 1
    assert entry.target in text
    assert f"](../pictures/methods/{entry.name}.png)" in text
    assert "](../../benchmarks/" in text, "what was measured names no table"


@each_page
def test_the_picture_is_small(repository: Path, entry: MethodEntry) -> None:
    path = repository / PICTURES / f"{entry.name}.png"
    assert path.stat().st_size < 80_000
    with Image.open(path) as picture:
        assert 900 <= picture.width <= 2000
