"""The table of codes for clinicians: the one in the document is the one of the program."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.prediction.codes import CODES

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_code_table.py"
TABLE = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_the_document_holds_the_codes_of_the_program(repository: Path) -> None:
    document = repository / "docs" / "clinical_use.md"
    text = document.read_text(encoding="utf-8")
    assert text == TABLE.with_table(text), f"python scripts/{SCRIPT.name} docs/{document.name}"


def test_every_code_has_one_line() -> None:
    lines = TABLE.table().splitlines()
    assert [line[2:5] for line in lines if line[2:5] in CODES] == sorted(
        CODES, key=lambda code: ("SRUWE".index(code[0]), code)
    )
    assert not any("{" in line for line in lines)


def test_what_stands_around_the_table_is_kept(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{TABLE.BEGIN}\nyesterday\n{TABLE.END}\nafter\n")
    assert TABLE.main([str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    assert TABLE.main([str(document)]) == 0
    assert document.read_text() == text


def test_missing_markers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text("nothing")
    assert TABLE.main([str(document)]) == 1
    assert "page.md: write the lines" in capsys.readouterr().err
    assert document.read_text() == "nothing"
