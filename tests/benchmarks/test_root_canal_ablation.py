"""The ablation runs, resumes, and reports what its records hold; no score is ever asserted."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "benchmarks"
PLAN = yaml.safe_load((FOLDER / "root_canal_ablation.yaml").read_text())


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import root_canal_ablation

    return root_canal_ablation


def test_every_row_names_what_there_is(ablation: ModuleType) -> None:
    for name, row in PLAN["rows"].items():
        assert row.get("start") in {None, *PLAN["starts"]}, name
        assert row.get("against") in {None, *PLAN["rows"]}, name
        if "of" in row:
            assert "of" not in PLAN["rows"][row["of"]], name
            continue
        if row["method"] is None:
            assert "start" in row, name
            continue
        assert row["method"] in ablation.METHODS, name
        given = ablation.trainings(PLAN, "tiny", [name], [0])[0].settings
        networks = [ablation.new_network(given["common"], 0, "weights")]
        if row.get("apart"):
            networks.append(ablation.new_network(given["common"], 0, "other weights"))
        method = ablation.new_method(row, given["common"], 10, *networks)
        assert method.inference_network in set(method.networks.values())
        assert ablation.work(ablation.trainings(PLAN, "tiny", [name], [0])[0]) > 0


def test_all_rows_have_the_same_steps_and_start_from_the_same_weights(ablation: ModuleType) -> None:
    every = ablation.trainings(PLAN, "first", list(PLAN["rows"]), [0, 1])
    assert len(every) == 2 * sum("of" not in row for row in PLAN["rows"].values())
    assert len({json.dumps(t.settings["common"], sort_keys=True) for t in every}) == 1
    one, again, other = (
        ablation.new_network(every[0].settings["common"], s, "weights") for s in (0, 0, 1)
    )
    weights = [next(n.parameters()) for n in (one, again, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_shards_share_the_work_and_keep_a_seed_together(ablation: ModuleType) -> None:
    every = ablation.trainings(PLAN, "first", ["1", "6", "5"], [0, 1, 2])
    parts = [list(ablation.mine(f"{i}/2", every)) for i in range(2)]
    assert len(parts[0]) + len(parts[1]) == len(every)
    assert {t.seed for t in parts[0]}.isdisjoint(t.seed for t in parts[1])
    many = [list(ablation.mine(f"{i}/4", every)) for i in range(4)]
    assert [{t.seed for t in part} for part in many] == [{0}, {1}, {2}, set()]


@pytest.mark.parametrize("part", ["2/2", "one", "0/0"])
def test_a_shard_that_is_none_is_refused(
    ablation: ModuleType,
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--runs", str(tmp_path), "--shard", part])
    with pytest.raises(SystemExit):
        ablation.arguments()
    assert f"--shard is '{part}'; give I/N" in capsys.readouterr().err


def test_a_training_that_only_lacked_its_time_has_none(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last checkpoint and its time: nothing is left to do, and to measure."""
    given = ablation.trainings(PLAN, "tiny", ["0"], [0])[0]
    common = given.settings["common"]
    monkeypatch.setattr(ablation, "StepStream", lambda *_, **__: None)
    monkeypatch.setattr(ablation, "SemiSupervisedTrainer", Finished)
    network = ablation.new_network(common, 0, "weights")
    method = ablation.Supervised(network)
    data = ablation.Data([], [], [], {})
    spent = ablation.train_stage(method, 20, 0, common, data, tmp_path, "method")
    assert spent == {"seconds": None, "cpu_seconds": None}
    assert json.loads((tmp_path / "timing.json").read_text()) == spent
    assert ablation.rounded(spent) == spent
    told = ablation.told(given, {"method": spent}, {"student": {"dice": [0.5]}})
    assert told == "row 0, seed 0: -, Dice student 0.500"


class Finished:
    """A trainer with no step left."""

    def __init__(self, **_: object) -> None:
        self.logger = logging.getLogger(__name__)

    def add_event_handler(self, *_: object) -> None: ...

    def run(self) -> None: ...


def test_a_time_that_is_unknown_is_a_dash(ablation: ModuleType, tmp_path: Path) -> None:
    for seed, seconds in ((0, None), (1, 30.0)):
        record = made_up("1", seed, 0.0, ablation.row_settings(PLAN, "tiny", "1"))
        record["times"]["method"]["cpu_seconds"] = seconds
        record["times"]["method"]["seconds"] = None
        (tmp_path / f"tiny-1-{seed}.json").write_text(json.dumps(record))
    ablation.write_report(PLAN, "tiny", tmp_path, tmp_path / "report.md")
    line, *_ = [
        t for t in (tmp_path / "report.md").read_text().splitlines() if t.startswith("| 1 |")
    ]
    assert line.endswith("| 0.5 | - |")


def made_up(row: str, seed: int, gain: float, settings: dict[str, object]) -> dict[str, object]:
    """A record of four patients, one of which has no measurable distance."""
    dice = [0.5 + gain, 0.6 + gain, 0.7 + gain, 0.8 + 2 * gain]
    metrics = {"dice": dice, "hd95_mm": [1.0, 2.0, None, 3.0], "centerline_dice": dice}
    metrics |= {"canals": [3.0] * 4, "canals_found": [2.0] * 4, "canals_followed": [1.0] * 4}
    metrics["false_canals"] = [0.0] * 4
    return {
        "row": row, "seed": seed, "times": {"method": {"seconds": 60.0, "cpu_seconds": 30.0}},
        "scores": {"student": metrics}, "date": "2026-01-01", "machine": "a machine",
        "revision": "0123456789", "settings": settings,
    }  # fmt: skip


def test_the_report_compares_by_patient_and_leaves_old_records_out(
    ablation: ModuleType, tmp_path: Path
) -> None:
    for row, gain in (("1", 0.0), ("2b", 0.1)):
        for seed in (0, 1):
            settings = ablation.row_settings(PLAN, "tiny", row)
            record = made_up(row, seed, gain + 0.001 * seed, settings)
            (tmp_path / f"tiny-{row}-{seed}.json").write_text(json.dumps(record))
    old = made_up("6", 0, 0.3, {"common": {}})
    (tmp_path / "tiny-6-0.json").write_text(json.dumps(old))
    ablation.write_report(PLAN, "tiny", tmp_path, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    # The mean gain over four patients is (3 · 0.1 + 0.2) / 4.
    assert "| 2b | 1 | **+0.125 [" in text
    assert "4 of 4" in text
    assert "| 8.0, 4.0 of 12 |" in text
    assert "1 records of other settings" in text
    assert "| 6 |" not in text


def test_a_row_may_be_another_network_of_a_training(ablation: ModuleType, tmp_path: Path) -> None:
    record = made_up("6", 0, 0.0, ablation.row_settings(PLAN, "tiny", "6"))
    scores = record["scores"]["student"]
    better = {**scores, "dice": [value + 0.1 for value in scores["dice"]]}
    record["scores"] = {"teacher": scores, "students": better}
    (tmp_path / "tiny-6-0.json").write_text(json.dumps(record))
    ablation.write_report(PLAN, "tiny", tmp_path, tmp_path / "report.md")
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "| 6 | teacher |" in "".join(lines)
    assert not [line for line in lines if line.startswith("| 6s | students")]
    (told,) = [line for line in lines if line.startswith("| 6s | 6 |")]
    assert "+0.100" in told
    assert "1 trainings" in "".join(lines)


@pytest.mark.slow
def test_it_trains_what_has_no_record_and_shares_the_start(
    ablation: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["x", "--runs", str(tmp_path / "runs"), "--scale", "tiny", "--seeds", "0"]
    command += ["--records", str(tmp_path / "records"), "--output", str(tmp_path / "report.md")]
    monkeypatch.setattr(sys, "argv", [*command, "--rows", "1,6,11"])
    ablation.main()
    assert len(list((tmp_path / "records").glob("tiny-*-0.json"))) == 3
    assert len(list((tmp_path / "runs").glob("tiny-*/start-*"))) == 1
    record = json.loads((tmp_path / "records" / "tiny-6-0.json").read_text())
    networks = {"student_low", "student_high", "teacher", "students", "all"}
    assert set(record["scores"]) == networks
    assert all(
        len(cases) == 2 for metrics in record["scores"].values() for cases in metrics.values()
    )
    capsys.readouterr()
    ablation.main()
    assert "0 trainings to do" in capsys.readouterr().out
    # A training whose record is lost is scored again, and not trained again.
    (tmp_path / "records" / "tiny-6-0.json").unlink()
    monkeypatch.setattr(ablation.SemiSupervisedTrainer, "run", lambda _: pytest.fail("trained"))
    ablation.main()
    again = json.loads((tmp_path / "records" / "tiny-6-0.json").read_text())
    assert again["scores"] == record["scores"]
