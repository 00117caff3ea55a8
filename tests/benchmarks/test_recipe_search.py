"""Which records of the search count; no score of them is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import recipe_search

    monkeypatch.setattr(recipe_search, "RECORDS", tmp_path)
    return recipe_search


def test_a_record_counts_for_its_method_and_the_settings_of_today(benchmark: ModuleType) -> None:
    trial = benchmark.trials("cardiac_7")["supervised_upright"]
    assert trial.known(0) is None
    path = trial.record(0)
    path.parent.mkdir()
    record = dict(trial.identity)
    path.write_text(json.dumps(record))
    assert trial.known(0) == record
    assert trial.known(1) is None
    assert replace(trial, overrides={**trial.overrides, "norm": "batch"}).known(0) is None
    assert replace(trial, method="bcp").known(0) is None
    for name in record:
        path.write_text(json.dumps({**record, name: "of another"}))
        assert trial.known(0) is None, name


def test_a_training_of_the_comparison_in_the_same_configuration_counts(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "COMPARED", tmp_path / "compared")
    trial = benchmark.trials("cardiac_7")["published"]
    path = tmp_path / "compared" / "some_board" / "bcp-2.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**trial.identity, "settings_digest": "of another"}))
    assert trial.known(2) is None
    path.write_text(json.dumps(trial.identity))
    assert trial.known(2) == trial.identity
    assert trial.known(1) is None
    assert benchmark.trials("cardiac_7")["strong_sgd"].known(2) is None
    own = {**trial.identity, "trial": "published"}
    trial.record(2).parent.mkdir()
    trial.record(2).write_text(json.dumps(own))
    assert trial.known(2) == own


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--board", "cardiac_9"), "invalid choice: 'cardiac_9'"),
        (("--board", "cardiac_7", "--trials", "typo"), "cardiac_7 has no trial typo"),
        (("--board", "cardiac_7", "--shard", "2/2"), "give I/N with I from 0 to N - 1"),
    ],
)
def test_wrong_input_is_told_and_writes_no_table(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(benchmark, "report", lambda: pytest.fail("a table was written"))
    monkeypatch.setattr("sys.argv", ["recipe_search", *options, "--dataset", "d", "--runs", "r"])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_every_board_has_a_plan_for_every_trial(benchmark: ModuleType, tmp_path: Path) -> None:
    for board in ("cardiac_7", "cardiac_3", "left_atrium_8"):
        found = benchmark.trials(board)
        trained = [tuple(trial.identity.values()) for trial in found.values()]
        assert len(set(trained)) == len(found), board
        assert all(trial.record(0).is_relative_to(tmp_path) for trial in found.values())
