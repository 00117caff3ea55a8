"""The index of methods is that of the registry."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.methods.registry import METHODS

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_method_index.py"
INDEX = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_the_index_is_up_to_date(repository: Path) -> None:
    document = repository / "docs" / "methods" / "README.md"
    text = document.read_text(encoding="utf-8")
    command = f"python scripts/{SCRIPT.name} docs/methods/{document.name}"
    assert text == INDEX.with_table(text, document.parent), command


def test_every_method_has_a_line_with_what_it_needs(tmp_path: Path) -> None:
    text = INDEX.with_table(f"{INDEX.BEGIN}\nyesterday\n{INDEX.END}\n", tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row.split()[1] for row in rows] == [entry.name for entry in METHODS]
    assert "yesterday" not in text
    for entry, row in zip(METHODS, rows, strict=True):
        assert f"| {entry.cost:.2f} |" in row
        assert all(f"`{need}`" in row for need in entry.needs)


def test_missing_markers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text("nothing")
    assert INDEX.main([str(document)]) == 1
    assert "page.md: write the lines" in capsys.readouterr().err
    assert document.read_text() == "nothing"
