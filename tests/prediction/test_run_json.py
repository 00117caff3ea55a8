"""run.json of a run and of all shards together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction.lock import lock_path
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.run_json import RunFacts, exit_code, merge_runs, run_file, write_run

MODEL = Model(Path("/somewhere/bundle"), "bundle", "1.0", "abc", ("CT",), ())


def write(
    out: Path,
    shard: tuple[int, int],
    code: int,
    outcomes: dict[str, str],
    known: int = 0,
    stopped: str = "",
) -> Any:
    for case_id, outcome in outcomes.items():
        folder = out / "cases" / case_id
        folder.mkdir(parents=True, exist_ok=True)
        record = {"status": outcome, "class": "volume", "codes": [{"code": "W07"}]}
        (folder / "case.json").write_text(json.dumps(record))
    facts = RunFacts(
        f"s{shard[0]}",
        f"e{shard[0]}",
        MODEL,
        Options(shard=shard),
        "cpu",
        outcomes,
        2,
        code,
        known or len(outcomes),
        stopped,
    )
    write_run(out, facts)
    return json.loads((out / run_file(shard, ".json")).read_text())


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["done", "skipped"], 0),
        (["already"], 0),
        (["already", "refused"], 2),
        (["done", "failed"], 2),
        (["refused", "failed"], 3),
        (["skipped"], 3),
        ([], 3),
    ],
)
def test_exit_codes(outcomes: list[str], code: int) -> None:
    assert exit_code(outcomes) == code


def test_a_run_is_told(tmp_path: Path) -> None:
    run = write(tmp_path, (1, 1), 2, {"a": "done", "b": "refused"})
    assert run["counts"] == {
        "outcome": {"done": 1, "refused": 1},
        "class": {"volume": 2},
        "status": {"done": 1, "refused": 1},
        "code": {"W07": 2},
    }
    assert run["bundle"] == {"name": "bundle", "version": "1.0", "sha256": "abc"}
    assert {"medsemi", "torch", "numpy", "python"} <= run["software"].keys()
    assert run["argv"] == ["predict"]
    assert "somewhere" not in json.dumps(run)


def test_shards_are_merged(tmp_path: Path) -> None:
    write(tmp_path, (1, 3), 0, {"a": "done"})
    write(tmp_path, (3, 3), 3, {"b": "refused", "c": "failed"})
    merge_runs(tmp_path, 3)
    merged = json.loads((tmp_path / "run.json").read_text())
    assert (merged["start"], merged["end"], merged["exit_code"]) == ("s1", "e3", 2)
    assert merged["counts"]["outcome"] == {"done": 1, "failed": 1, "refused": 1}
    assert merged["options"]["shard"] == [1, 1]
    assert (merged["cases"], merged["stopped_by"]) == (3, "")
    write(tmp_path, (2, 3), 130, {}, 5, "E04")
    merge_runs(tmp_path, 3)
    merged = json.loads((tmp_path / "run.json").read_text())
    assert (merged["exit_code"], merged["cases"], merged["stopped_by"]) == (130, 8, "E04")


def test_a_part_that_stopped_leaves_no_success(tmp_path: Path) -> None:
    write(tmp_path, (1, 2), 0, {"a": "done"})
    write(tmp_path, (2, 2), 4, {}, 5, "E04")
    merge_runs(tmp_path, 2)
    assert json.loads((tmp_path / "run.json").read_text())["exit_code"] == 2


def test_parts_that_have_not_ended_leave_no_success(tmp_path: Path) -> None:
    write(tmp_path, (1, 3), 0, {"a": "done"})
    write(tmp_path, (3, 3), 0, {"b": "already"})
    merge_runs(tmp_path, 3)
    merged = json.loads((tmp_path / "run.json").read_text())
    assert (merged["exit_code"], merged["shards"]) == (2, {"count": 3, "unfinished": [2]})
    write(tmp_path, (2, 3), 0, {"c": "done"})
    lock_path(tmp_path, (3, 3)).write_text("{}")  # it ran again, and was killed
    merge_runs(tmp_path, 3)
    merged = json.loads((tmp_path / "run.json").read_text())
    assert (merged["exit_code"], merged["shards"]["unfinished"]) == (2, [3])
    lock_path(tmp_path, (3, 3)).unlink()
    merge_runs(tmp_path, 3)
    merged = json.loads((tmp_path / "run.json").read_text())
    assert (merged["exit_code"], merged["shards"]["unfinished"]) == (0, [])


def test_without_shards_nothing_is_merged(tmp_path: Path) -> None:
    merge_runs(tmp_path, 3)
    assert not list(tmp_path.iterdir())
