"""The list of methods, as a table and as JSON."""

from __future__ import annotations

import json

import pytest

from medsemi.cli.main import main
from medsemi.methods.registry import METHODS


def test_the_table_has_a_line_for_each_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(METHODS) + 1
    for entry, line in zip(METHODS, lines[1:], strict=True):
        assert line.split()[0] == entry.name
        assert f"{entry.cost:.1f}" in line


def test_json_holds_what_the_table_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == [entry.name for entry in METHODS]
