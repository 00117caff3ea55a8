"""The report: every number from the records, one page that needs nothing else."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from medsemi.comparison.jobs import Arm
from medsemi.comparison.looks import Look, read_looks, record_look
from medsemi.comparison.records import read_records
from medsemi.comparison.run import report, run_missing
from medsemi.errors import ConfigError, DataError


def recorded(arms, tmp_path: Path, **changes: object):
    plan = arms.a_plan(tmp_path, **changes)
    for arm in plan.arms:
        gain = {"supervised": 0.0, "bcp": 0.1, "fixmatch": -0.1}[arm.method]
        arms.a_record(plan, arm.method, arm.seed, 0.7 + gain).save(plan.output / "records")
    return plan


def test_markdown_and_page_tell_the_same(arms, tmp_path: Path) -> None:
    plan = recorded(arms, tmp_path)
    scores = {"student": {"v0": 0.5}}
    folder = plan.evaluation(Arm("bcp", 0))
    arms.write_evaluation(folder, "student", scores, plan.manifest.digest)
    report(plan)
    text = (plan.output / "report.md").read_text()
    page = (plan.output / "report.html").read_text()
    row = "| bcp | student | 0, 1 | 0.825 ± 0.000 |"
    assert row in text
    assert "- **bcp**: Yes, taken alone: Dice +0.100" in text
    for words in ("Yes, taken alone: Dice +0.100", "0.825 ± 0.000", "+0.100 to +0.100", "None."):
        assert words in page
    assert "Not finished" not in page
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/svg+xml;base64,") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert re.search(r"https?://", page) is None


def test_what_is_missing_is_named(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    report(plan)
    assert "Not finished: supervised-0, bcp-0" in (plan.output / "report.md").read_text()
    arms.a_record(plan, "bcp", 0, 0.5).save(plan.output / "records")
    report(plan)
    text = (plan.output / "report.md").read_text()
    assert "Cannot be told" in text
    assert "bcp-0" not in text.split("Not finished")[1]


def test_recorded_arms_are_not_trained_again(arms, tmp_path: Path, monkeypatch) -> None:
    plan = recorded(arms, tmp_path)

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("medsemi.comparison.run.run_arm", forbidden)
    assert run_missing(plan, plan.arms) == []


def test_a_finished_arm_without_a_record_is_only_read(arms, tmp_path: Path, monkeypatch) -> None:
    plan = arms.a_plan(tmp_path, methods=("bcp",), seeds=(0,))
    for arm in plan.arms:
        arms.write_arm(plan, arm)
    monkeypatch.setattr("medsemi.comparison.run.run_arm", None)
    assert run_missing(plan, plan.arms) == []
    assert {p.name for p in (plan.output / "records").iterdir()} == {
        "bcp-0.json", "supervised-0.json"
    }  # fmt: skip


def test_an_arm_that_fails_does_not_stop_the_others(arms, tmp_path: Path, monkeypatch) -> None:
    plan = arms.a_plan(tmp_path, seeds=(0,))

    def train(plan, arm: Arm) -> None:
        if arm.method == "fixmatch":
            arms.write_arm(plan, arm)

    monkeypatch.setattr("medsemi.comparison.run.run_arm", train)
    failures = run_missing(plan, plan.arms)
    assert [sentence.split(":")[0] for sentence in failures] == ["supervised-0", "bcp-0"]
    assert (plan.output / "records" / "fixmatch-0.json").is_file()


def test_each_look_at_the_test_list_is_kept_and_shown(arms, tmp_path: Path, monkeypatch) -> None:
    plan = recorded(arms, tmp_path, role="test", reason="<b>final</b> table")
    monkeypatch.setattr("medsemi.comparison.run.run_arm", lambda *_: None)
    run_missing(plan, plan.arms)
    run_missing(replace(plan, seeds=(0,)), plan.arms[:1])
    looks = read_looks(plan.output)
    assert [look.methods for look in looks] == [("supervised", "bcp", "fixmatch"), ("supervised",)]
    report(replace(plan, role="validation"))
    assert "&lt;b&gt;final&lt;/b&gt; table" in (plan.output / "report.html").read_text()
    run_missing(replace(plan, role="validation"), ())
    assert read_looks(plan.output) == looks


def test_what_is_known_is_no_new_look(arms, tmp_path: Path, monkeypatch) -> None:
    plan = recorded(arms, tmp_path)
    monkeypatch.setattr("medsemi.comparison.run.run_arm", None)
    for record in read_records([plan.output / "records"]):
        replace(record, scores={"test": record.scores["validation"]}).save(plan.output / "records")
    assert run_missing(replace(plan, role="test", reason="again"), plan.arms) == []
    assert read_looks(plan.output) == []


@pytest.mark.parametrize("reason", ["", "  "])
def test_test_cases_are_not_opened_without_a_reason(arms, tmp_path: Path, reason: str) -> None:
    plan = arms.a_plan(tmp_path, role="test", reason=reason)
    with pytest.raises(ConfigError, match="--reason is empty; say why the test cases are opened"):
        run_missing(plan, plan.arms)
    assert read_looks(plan.output) == []


def test_looks_of_the_comparisons_that_records_are_of_are_shown(arms, tmp_path: Path) -> None:
    plan = recorded(arms, tmp_path)
    look = Look("2026-01-01T00:00:00+00:00", "their look", ("bcp",), (0,), "a", "b")
    record_look(plan.output, look)
    elsewhere = replace(plan, output=tmp_path / "elsewhere")
    report(elsewhere, folders=[plan.output / "records"])
    assert "their look" in (elsewhere.output / "report.md").read_text()


def test_a_training_of_elsewhere_is_not_repeated_for_another_role(
    arms, tmp_path: Path, monkeypatch
) -> None:
    plan = recorded(arms, tmp_path)
    monkeypatch.setattr("medsemi.comparison.run.run_arm", None)
    here = replace(plan, output=tmp_path / "here", role="test", reason="final")
    failures = run_missing(here, plan.arms[:1], [plan.output / "records"])
    assert len(failures) == 1
    assert "was trained elsewhere and has no scores of the test cases" in failures[0]


def test_looks_are_read_back_as_written(tmp_path: Path) -> None:
    look = Look("2026-01-01T00:00:00+00:00", "final", ("bcp",), (0, 1), "a", "b")
    record_look(tmp_path, look)
    record_look(tmp_path, replace(look, reason="again"))
    assert read_looks(tmp_path) == [look, replace(look, reason="again")]
    assert look.words == "2026-01-01T00:00:00+00:00: bcp; seeds 0, 1; final"


def test_no_look_is_lost_where_several_processes_share_an_output(tmp_path: Path) -> None:
    look = Look("2026-01-01T00:00:00+00:00", "final", ("bcp",), (0,), "a", "b")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: record_look(tmp_path, replace(look, seeds=(seed,))), range(64)))
    assert sorted(look.seeds for look in read_looks(tmp_path)) == [(seed,) for seed in range(64)]


def test_a_line_that_is_no_look_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_looks.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1"):
        read_looks(tmp_path)
