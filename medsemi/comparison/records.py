"""One arm as a small JSON file, so that a table gathers over days and machines.

`records/<method>-<seed>.json` holds all that the report says of an arm, but its pictures.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medsemi.atomic import whole_files, write_atomically
from medsemi.comparison.jobs import Arm, Plan, missing_workflows
from medsemi.comparison.stage_runs import Scores, StageRun, Tracked, from_folder
from medsemi.comparison.timing import elapsed, peak_memory
from medsemi.data.manifest import MANIFEST_TAG
from medsemi.errors import DataError

FORMAT = 2


@dataclass(frozen=True)
class CurvePoint:
    """Validation of the network that is deployed, during a training.

    Attributes:
        step: student steps done, those of the pre-training included.
        seconds: of training until then; None if those of the training are unknown.
        dice: mean over the validation cases.
    """

    step: int
    seconds: float | None
    dice: float


@dataclass(frozen=True)
class Record:
    """What is known of an arm.

    Attributes:
        method: name of the method.
        seed: of the training.
        steps: student steps, those of the pre-training included.
        seconds: of training; None if `elapsed` cannot tell those of a stage.
        memory_mib: peak; None if no stage was long enough to report it.
        deployed: the network whose scores count.
        scores: role -> network -> case -> class -> metric -> value.
        curve: validation during the training.
        date: when the scores were read, UTC, ISO 8601.
        machine: what computed.
        revision: of the source; empty if unknown.
        manifest_digest: of the split.
        settings_digest: of the merged configuration.
        evaluation_digest: of how its networks are scored.
    """

    method: str
    seed: int
    steps: int
    seconds: float | None
    memory_mib: float | None
    deployed: str
    scores: dict[str, Scores]
    curve: tuple[CurvePoint, ...]
    date: str
    machine: str
    revision: str
    manifest_digest: str
    settings_digest: str
    evaluation_digest: str

    @property
    def arm(self) -> Arm:
        """What was trained."""
        return Arm(self.method, self.seed)

    @property
    def name(self) -> str:
        """Name of the arm in files."""
        return self.arm.name

    def fits(self, plan: Plan) -> bool:
        """Whether it was made with the split and the configurations of a plan."""
        ours = (plan.manifest.digest, plan.settings_digest, plan.evaluation_digest)
        return (self.manifest_digest, self.settings_digest, self.evaluation_digest) == ours

    def belongs_to(self, plan: Plan) -> bool:
        """Whether it spares a plan one of its trainings."""
        return self.arm in plan.arms and self.fits(plan)

    @property
    def training(self) -> tuple[object, ...]:
        """What no two trainings of an arm have in common."""
        # Of the curve its second half: earlier versions read that of a pre-training off another network.
        end = tuple((p.step, p.dice) for p in self.curve if 2 * p.step > self.steps)
        return self.steps, self.seconds, end

    def save(self, folder: Path) -> None:
        """Write the record; scores of the other role that an older one of this training holds are kept."""
        path = folder / f"{self.name}.json"
        scores = dict(self.scores)
        for old in read_records([folder]):
            if _identity(old) == _identity(self) and old.training == self.training:
                scores = {**old.scores, **scores}
        document = {"format": FORMAT, **asdict(self), "scores": scores}
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_records(folders: Iterable[Path]) -> list[Record]:
    """Read all records of some folders; of the same arm and settings the first one counts.

    A role that only a later one of the same training has, such as the test cases, is taken from that one.

    Raises:
        DataError: if a file is no record.
    """
    found: dict[tuple[object, ...], Record] = {}
    for folder in folders:
        for path in whole_files(folder, "*.json"):
            record = _parse(path)
            first = found.setdefault(_identity(record), record)
            if first.training == record.training:
                found[_identity(record)] = replace(first, scores={**record.scores, **first.scores})
    return list(found.values())


def collect(plan: Plan, arm: Arm, tracked: Tracked) -> tuple[Record, StageRun] | None:
    """Make the record of an arm from its run folders, or from MLflow where these lack something.

    Returns:
        The record and its evaluation; None if a stage or the evaluation is not finished.

    Raises:
        DataError: if the run folders are of another manifest.
    """
    here = _finished_here(plan, arm)
    common = {"manifest": plan.manifest.digest, "seed": str(arm.seed)}
    wanted = {"evaluated": arm.method, "role": plan.role, "results": plan.evaluation(arm).name}
    scored = here.get("evaluate") or tracked.find("evaluate", {**common, **wanted})
    if scored is None or not scored.scores:
        return None
    # Several machines may have trained the arm; a record is of the training that was scored.
    stages, training = list[StageRun](), scored.training
    for stage in reversed(arm.stages):
        run = here.get(stage)
        # Folders that were copied here have another identity than what is scored here.
        if run is None or not ("evaluate" in here or run.is_of(training)):
            run = tracked.find(stage, common, training)
        if run is None:
            return None
        training = training or run.training
        stages.insert(0, run)
    return _record(plan, arm, stages, scored), scored


def _finished_here(plan: Plan, arm: Arm) -> dict[str, StageRun]:
    """The stages of an arm, and its evaluation, that the run folders hold."""
    missing = missing_workflows(plan, arm)
    folders = {stage: plan.folder(arm) / stage for stage in arm.stages}
    workflows = {arm.method: "method", "evaluate": "evaluate"}
    runs = {
        name: _of_this_split(plan, folder)
        for name, folder in {**folders, "evaluate": plan.evaluation(arm)}.items()
        if workflows.get(name, "method_pretrain") not in missing
    }
    return {name: run for name, run in runs.items() if run is not None}


def _of_this_split(plan: Plan, folder: Path) -> StageRun | None:
    run = from_folder(folder)
    if run is not None and run.tags.get(MANIFEST_TAG) != plan.manifest.digest:
        raise DataError(f"{folder} is a run of another manifest; give another --output.")
    return run


def _record(plan: Plan, arm: Arm, stages: list[StageRun], scored: StageRun) -> Record:
    deployed = scored.tags["medsemi.deployed"]
    steps, seconds, curve = 0, 0.0, list[CurvePoint]()
    known = all(elapsed(run.history) for run in stages)
    for run in stages:
        network = deployed if run is stages[-1] else _deployed_before(run)
        done = elapsed(run.history) if known else {}
        curve += _curve(run, network, steps, {s: round(seconds + t, 3) for s, t in done.items()})
        steps += max((row.step for row in run.history), default=0)
        seconds += max(done.values(), default=0.0)
    memory = [m for m in (peak_memory(run.history) for run in stages) if m is not None]
    return Record(
        method=arm.method,
        seed=arm.seed,
        steps=steps,
        seconds=round(seconds, 3) if known else None,
        memory_mib=max(memory, default=None),
        deployed=deployed,
        scores={plan.role: scored.scores},
        curve=tuple(curve),
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        machine=stages[-1].tags.get("medsemi.device", ""),
        revision=stages[-1].tags.get("medsemi.revision", ""),
        manifest_digest=plan.manifest.digest,
        settings_digest=plan.settings_digest,
        evaluation_digest=plan.evaluation_digest,
    )


def _deployed_before(run: StageRun) -> str:
    """What a pre-training hands on: the average of its weights if it has one, else its one network."""
    averaged = any(row.name == "val/dice_average" for row in run.history)
    return "average" if averaged else "student"


def _curve(
    run: StageRun, network: str, steps: int, seconds: Mapping[int, float]
) -> list[CurvePoint]:
    return [
        CurvePoint(steps + row.step, seconds.get(row.step), row.value)
        for row in run.history
        if row.name == f"val/dice_{network}"
    ]


def _identity(record: Record) -> tuple[object, ...]:
    digests = record.manifest_digest, record.settings_digest, record.evaluation_digest
    return record.method, record.seed, *digests


def _parse(path: Path) -> Record:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise DataError(f"{path} has another format; write it anew with this version.")
        document["curve"] = tuple(CurvePoint(**point) for point in document["curve"])
        return Record(**document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is no record of a comparison; remove it from --records."
        ) from error
