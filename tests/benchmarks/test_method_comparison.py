"""The comparisons name what there is, and their pages say what the records hold; no score is asserted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from medsemi.comparison.records import CurvePoint
from medsemi.marked_section import with_section
from medsemi.methods.registry import METHODS, find_method

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import method_comparison

    return method_comparison


def test_every_board_can_be_planned(comparison: ModuleType, tmp_path: Path) -> None:
    boards = comparison.boards()
    for board in boards.values():
        plan = board.plan(tmp_path, tmp_path)
        assert plan.settings_digest
        assert len(plan.arms) >= 2 * len(plan.seeds)
        for method in plan.methods:
            find_method(method)
        if board.described["published"]:
            base = boards[board.described["published"]].plan(tmp_path, tmp_path)
            assert base.manifest.digest == plan.manifest.digest
            assert base.settings_digest != plan.settings_digest


def test_the_first_board_has_all_methods(comparison: ModuleType, tmp_path: Path) -> None:
    plan = comparison.boards()["cardiac_7"].plan(tmp_path, tmp_path)
    assert {arm.method for arm in plan.arms} == {entry.name for entry in METHODS}


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_the_page_of_a_method_says_what_its_records_hold(
    comparison: ModuleType, entry: object
) -> None:
    page = (comparison.PAGES / f"{entry.name}.md").read_text(encoding="utf-8")
    section = comparison.measured(entry.name)
    assert with_section(page, comparison.BEGIN, comparison.END, section) == page


def test_the_page_of_a_board_says_what_its_records_hold(comparison: ModuleType) -> None:
    boards = [board for board in comparison.boards().values() if board.records]
    assert boards
    for board in boards:
        written = (comparison.RECORDS / f"{board.name}.md").read_text(encoding="utf-8")
        assert comparison.page(board) == written, board.name


def test_the_page_of_the_recipe_says_what_the_records_hold(comparison: ModuleType) -> None:
    text = comparison.RECIPE_PAGE.read_text(encoding="utf-8")
    assert with_section(text, comparison.BEGIN, comparison.END, comparison.worth()) == text


def test_the_same_minutes_end_where_the_baseline_ended(comparison: ModuleType) -> None:
    curve = tuple(CurvePoint(step, float(step), step / 1000) for step in (200, 400, 600, 800))
    record = replace(comparison.boards()["cardiac_7"].of("urpc")[0], curve=curve)
    ours = SimpleNamespace(of=lambda _: [record])

    def against(seconds: float, machine: str = record.machine) -> str:
        last = (CurvePoint(800, seconds, 0.1),)
        base = [replace(record, seconds=seconds, curve=last, machine=machine)]
        theirs = SimpleNamespace(of=lambda _: base)
        return comparison._same_minutes(ours, theirs, "urpc", [record.seed])

    assert [against(s) for s in (100.0, 450.0, 900.0)] == ["–", "+0.300", "+0.700"]
    assert against(900.0, "a faster one") == "–"


def test_wrong_input_is_told_in_words(
    comparison: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        comparison.main(["--board", "cardiac_7"])
    assert "--dataset" in capsys.readouterr().err
