"""Records: made from run folders, merged over days, never taken for other settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medsemi.comparison.jobs import Arm, Plan, missing_workflows
from medsemi.comparison.records import CurvePoint, collect, read_records
from medsemi.comparison.run import known_records
from medsemi.comparison.stage_runs import TRAINING_TAG, StageRun, Tracked, from_folder
from medsemi.comparison.timing import elapsed, peak_memory
from medsemi.errors import DataError
from medsemi.training.history import Row


def losses(*times: float) -> list[Row]:
    return [Row(step, "loss", 1.0, time) for step, time in enumerate(times, 1)]


def test_pauses_and_validations_are_no_training() -> None:
    assert elapsed(losses(10, 12, 14, 16)) == {1: 2, 2: 4, 3: 6, 4: 8}
    assert elapsed(losses(10, 12, 500, 502, 504)) == {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}
    # A clock that was set back is no gap either.
    assert elapsed(losses(10, 12, 5, 7, 9))[5] == 10
    assert elapsed(losses(10)) == {}
    assert elapsed([]) == {}


def test_batches_that_processes_deliver_together_are_training() -> None:
    """Four of them take 0.3 s for a batch: three steps follow at once, and one waits for all four."""
    times = [0.0]
    for step in range(1, 200):
        times.append(times[-1] + (0.24 if step % 4 == 0 else 0.02))
    seconds = elapsed(losses(*times))
    assert max(seconds.values()) == pytest.approx(times[-1], rel=0.02)


def test_the_time_of_a_validation_is_cut_out_however_short_it_is() -> None:
    times = [float(step) for step in range(1, 11)] + [13.0 + step for step in range(11, 21)]
    rows = [*losses(*times), Row(10, "val/dice_student", 0.5, 13.0)]
    assert elapsed(rows)[20] == 20.0


def test_the_time_of_steps_that_were_all_validated_is_unknown() -> None:
    """40 steps of 1 s, each followed by 9 s of validation: 40 s that nobody can tell."""
    rows = [
        row
        for step in range(1, 41)
        for row in (
            Row(step, "loss", 1.0, 10.0 * step),
            Row(step, "val/dice_student", 0.5, 10.0 * step + 9),
        )
    ]
    assert elapsed(rows) == {}


def test_a_step_that_is_reported_twice_counts_once() -> None:
    rows = [*losses(10, 12, 14), Row(3, "loss", 1.0, 20.0), Row(4, "loss", 1.0, 22.0)]
    assert elapsed(rows) == {1: 2, 2: 4, 3: pytest.approx(12), 4: pytest.approx(14)}


def test_a_record_that_is_being_written_is_none_yet(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    arms.a_record(plan, "bcp", 0, 0.8).save(tmp_path / "records")
    (tmp_path / "records" / ".4711.bcp-1.json").write_text('{"format":')
    assert len(read_records([tmp_path / "records"])) == 1


def test_memory_is_the_peak_or_unknown() -> None:
    assert peak_memory([Row(1, "memory_mib", 5.0, 0), Row(2, "memory_mib", 3.0, 0)]) == 5.0
    assert peak_memory([]) is None


def test_a_record_adds_up_both_stages(arms, tmp_path: Path) -> None:
    plan, arm = arms.a_plan(tmp_path), Arm("bcp", 0)
    nowhere = Tracked(plan.tracking, plan.experiment)
    assert collect(plan, arm, nowhere) is None
    arms.write_arm(plan, arm)
    record, evaluation = collect(plan, arm, nowhere)
    assert (record.steps, record.seconds, record.memory_mib) == (20, 20.0, 77.0)
    assert record.curve == (CurvePoint(10, 10.0, 0.5), CurvePoint(20, 20.0, 0.5))
    assert (record.deployed, record.machine, record.revision) == ("student", "a GPU", "abc")
    assert set(record.scores["validation"]) == {"student", "teacher"}
    assert record.scores["validation"]["student"]["v1"]["organ"]["hd95_mm"] is None
    assert set(evaluation.pictures) == {"best", "median", "worst"}


def test_the_curve_of_a_pretraining_is_that_of_the_network_it_deploys(arms, tmp_path: Path) -> None:
    plan, arm = arms.a_plan(tmp_path), Arm("bcp", 0)
    arms.write_arm(plan, arm)
    with (plan.folder(arm) / arm.stages[0] / "history.csv").open("a") as file:
        file.write("10,val/dice_average,0.7,110.6\n")
    record, _ = collect(plan, arm, Tracked(plan.tracking, plan.experiment))
    assert record.curve == (CurvePoint(10, 10.0, 0.7), CurvePoint(20, 20.0, 0.5))


@pytest.mark.parametrize("stage", ["bcp_pretrain", "bcp"])
def test_a_record_has_no_seconds_where_those_of_a_stage_are_unknown(
    arms, tmp_path: Path, stage: str
) -> None:
    plan, arm = arms.a_plan(tmp_path), Arm("bcp", 0)
    arms.write_arm(plan, arm)
    with (plan.folder(arm) / stage / "history.csv").open("a") as file:
        file.writelines(f"{step},val/dice_student,0.5,{step + 100}.5\n" for step in range(1, 10))
    record, _ = collect(plan, arm, Tracked(plan.tracking, plan.experiment))
    assert (record.steps, record.seconds) == (20, None)
    assert {point.step for point in record.curve} >= {10, 20}
    assert {point.seconds for point in record.curve} == {None}
    record.save(tmp_path / "records")
    assert read_records([tmp_path / "records"]) == [record]


class Server:
    """Runs of several machines, the latest first, as `Tracked` finds them."""

    def __init__(self, *runs: tuple[str, StageRun]) -> None:
        self.runs = runs

    def find(self, stage: str, parameters: dict, training: str = "") -> StageRun | None:
        return next((r for name, r in self.runs if name == stage and r.is_of(training)), None)


def told_by(arms, plan: Plan, arm: Arm, training: str) -> dict[str, StageRun]:
    """What a machine tells of an arm: each stage, and its evaluation."""
    arms.write_arm(plan, arm)
    folders = {stage: plan.folder(arm) / stage for stage in arm.stages}
    folders["evaluate"] = plan.evaluation(arm)
    runs = {name: from_folder(folder) for name, folder in folders.items()}
    own = {TRAINING_TAG: training, "medsemi.device": training} if training else {}
    return {name: replace(run, tags={**run.tags, **own}) for name, run in runs.items()}


def test_scores_and_stages_of_a_record_are_of_one_training(arms, tmp_path: Path) -> None:
    """Two machines train the same arm; the first one scores after the second one has trained."""
    arm, plan = Arm("bcp", 0), arms.a_plan(tmp_path)
    first, second, old = (
        told_by(arms, replace(plan, output=tmp_path / name), arm, name) for name in ("A", "B", "")
    )
    scored, pretrained, trained = "evaluate", *arm.stages
    stages = [(name, machine[name]) for machine in (second, first) for name in arm.stages]
    record, evaluation = collect(plan, arm, Server((scored, first[scored]), *stages))
    assert (record.machine, evaluation) == ("A", first[scored])
    # The pre-training of another one does not stand in for one that is not there.
    partly = Server((scored, first[scored]), *stages[:2], (trained, first[trained]))
    assert collect(plan, arm, partly) is None
    # Scores of an earlier version name no training: then the latest one, and all of that.
    latest = Server((scored, old[scored]), stages[1], stages[2], stages[0])
    record, _ = collect(plan, arm, latest)
    assert record.machine == "B"
    older = Server(*((name, old[name]) for name in (scored, pretrained, trained)))
    assert collect(plan, arm, older)[0].machine == "a GPU"


def test_a_training_of_this_machine_has_no_scores_of_another(arms, tmp_path: Path) -> None:
    arm, plan = Arm("bcp", 0), arms.a_plan(tmp_path)
    other = told_by(arms, replace(plan, output=tmp_path / "B"), arm, "B")
    arms.write_arm(plan, arm)
    for stage in arm.stages:
        record = plan.folder(arm) / stage / "run.json"
        tags = json.loads(record.read_text())["tags"]
        record.write_text(json.dumps({"tags": {**tags, TRAINING_TAG: "ours"}}))
    shutil.rmtree(plan.evaluation(arm))
    assert collect(plan, arm, Server(("evaluate", other["evaluate"]))) is None
    record, _ = collect(plan, arm, Server(*other.items()))
    assert record.machine == "B"


def test_stages_that_were_copied_here_are_of_what_is_scored_here(arms, tmp_path: Path) -> None:
    """Without `training.json`, which lies beside them, the evaluation has an identity of its own."""
    arm, plan = Arm("bcp", 0), arms.a_plan(tmp_path)
    arms.write_arm(plan, arm)
    for number, folder in enumerate(
        (*(plan.folder(arm) / stage for stage in arm.stages), plan.evaluation(arm))
    ):
        tags = json.loads((folder / "run.json").read_text())["tags"]
        own = {TRAINING_TAG: "there" if number < 2 else "here"}
        (folder / "run.json").write_text(json.dumps({"tags": {**tags, **own}}))
    record, _ = collect(plan, arm, Server())
    assert record.steps == 20


def test_records_of_both_roles_and_of_other_machines_gather(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    one = arms.a_record(plan, "bcp", 0, 0.8)
    one.save(plan.output / "records")
    tested = replace(one, scores={"test": {"student": {}}})
    tested.save(plan.output / "records")
    (stored,) = read_records([plan.output / "records"])
    assert set(stored.scores) == {"validation", "test"}
    assert replace(stored, scores=one.scores) == one
    elsewhere = tmp_path / "other_machine"
    arms.a_record(plan, "bcp", 0, 0.1).save(elsewhere)
    arms.a_record(plan, "fixmatch", 1, 0.7).save(elsewhere)
    known = known_records(plan, [elsewhere])
    assert {arm.name for arm in known} == {"bcp-0", "fixmatch-1"}
    assert known[Arm("bcp", 0)].scores["validation"] == one.scores["validation"]


def test_scores_of_each_role_gather_from_several_machines(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    record = arms.a_record(plan, "bcp", 0, 0.5)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    record.save(ours)
    tested = {"test": record.scores["validation"]}
    replace(record, scores=tested, machine="another").save(theirs)
    (both,) = read_records([ours, theirs])
    assert set(both.scores) == {"validation", "test"}
    assert both.machine == record.machine


def test_scores_of_two_trainings_are_never_one_record(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    record = arms.a_record(plan, "bcp", 0, 0.5)
    tested = {"test": record.scores["validation"]}
    record.save(tmp_path / "ours")
    replace(record, scores=tested, seconds=99.0).save(tmp_path / "theirs")
    assert read_records([tmp_path / "ours", tmp_path / "theirs"]) == [record]
    replace(record, scores=tested, seconds=99.0).save(tmp_path / "ours")
    (last,) = read_records([tmp_path / "ours"])
    assert (set(last.scores), last.seconds) == ({"test"}, 99.0)


def test_a_record_of_other_settings_does_not_count(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    digests = ("settings_digest", "manifest_digest", "evaluation_digest")
    for change in (*({name: "0"} for name in digests), {"seed": 9}):
        arms.a_record(plan, "bcp", change.pop("seed", 0), 0.8, **change).save(tmp_path / "r")
        assert known_records(plan, [tmp_path / "r"]) == {}


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"format": 2, "curve": []}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=r"bad\.json is no record"):
            read_records([tmp_path])


def test_runs_of_another_manifest_are_no_result(arms, tmp_path: Path) -> None:
    plan, arm = arms.a_plan(tmp_path), Arm("bcp", 0)
    arms.write_arm(plan, arm)
    record = plan.folder(arm) / arm.stages[0] / "run.json"
    record.write_text(record.read_text().replace(plan.manifest.digest, "0" * 64))
    with pytest.raises(DataError, match="run of another manifest"):
        collect(plan, arm, Tracked(plan.tracking, plan.experiment))


def test_a_record_of_an_older_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"old\.json has another format"):
        read_records([tmp_path])


def test_an_evaluation_without_its_last_picture_is_not_finished(arms, tmp_path: Path) -> None:
    plan, arm = arms.a_plan(tmp_path), Arm("bcp", 0)
    arms.write_arm(plan, arm)
    (picture,) = plan.evaluation(arm).glob("extremes/worst_*.png")
    picture.unlink()
    assert missing_workflows(plan, arm) == ["evaluate"]
    assert collect(plan, arm, Tracked(plan.tracking, plan.experiment)) is None
