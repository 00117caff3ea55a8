"""A comparison from its plan to its report."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

from medsemi.comparison.equal_time import at_time, shortest
from medsemi.comparison.jobs import Arm, Plan, run_arm
from medsemi.comparison.looks import Look, read_looks, record_look
from medsemi.comparison.records import Record, collect, read_records
from medsemi.comparison.report import Report, make_report, write_report
from medsemi.comparison.stage_runs import Tracked, from_folder
from medsemi.comparison.summary import summarize
from medsemi.errors import ConfigError, MedsemiError

logger = logging.getLogger(__name__)


def known_records(plan: Plan, folders: Sequence[Path] = ()) -> dict[Arm, Record]:
    """The records of the plan's arms that fit it and have scores of its role.

    Args:
        plan: the comparison.
        folders: with records of other machines, after those of the plan.
    """
    trained = _trained(plan, folders)
    return {arm: record for arm, record in trained.items() if plan.role in record.scores}


def _trained(plan: Plan, folders: Sequence[Path]) -> dict[Arm, Record]:
    """The records of the plan's arms that fit it, whatever role they have scores of."""
    found = dict[Arm, Record]()
    for record in read_records([plan.output / "records", *folders]):
        if record.belongs_to(plan):
            found.setdefault(record.arm, record)
    return found


def run_missing(plan: Plan, arms: Sequence[Arm], folders: Sequence[Path] = ()) -> list[str]:
    """Train and score the arms that have no record; an arm that fails does not stop the others.

    Args:
        plan: the comparison.
        arms: those of this process.
        folders: as for `known_records`.

    Returns:
        A sentence for each arm that failed.

    Raises:
        ConfigError: if the test cases are asked for without a reason.
    """
    trained, failures = _trained(plan, folders), list[str]()
    known = {arm for arm, record in trained.items() if plan.role in record.scores}
    if plan.role == "test":
        _record_look(plan, [arm for arm in arms if arm not in known])
    tracked = Tracked(plan.tracking, plan.experiment)
    for number, arm in enumerate(arms, 1):
        if arm in known:
            logger.info("%d of %d: %s is recorded", number, len(arms), arm.name)
            continue
        logger.info("%d of %d: %s", number, len(arms), arm.name)
        try:
            _record_of(plan, arm, tracked, arm in trained).save(plan.output / "records")
        except MedsemiError as error:
            logger.warning("%s", error)
            failures.append(str(error))
    return failures


def _record_of(plan: Plan, arm: Arm, tracked: Tracked, trained: bool) -> Record:
    """Collect an arm, after it was trained and scored where it is not yet."""
    found = collect(plan, arm, tracked)
    if found is None:
        # A table must not take the scores of one role from one training, and of another from another.
        if trained and not (plan.folder(arm) / arm.method / "bundle").is_dir():
            raise MedsemiError(
                f"{arm.name} was trained elsewhere and has no scores of the {plan.role} cases; give this"
                " command there, where its weights are, and the records of that output to --records."
            )
        run_arm(plan, arm)
        found = collect(plan, arm, Tracked(plan.tracking, plan.experiment))
    if found is None:
        raise MedsemiError(f"{arm.name}: its scores cannot be found in {plan.output}.")
    return found[0]


def report(plan: Plan, minutes: float | None = None, folders: Sequence[Path] = ()) -> Report:
    """Write `report.md` and `report.html` of what is known.

    Args:
        plan: the comparison.
        minutes: of training, at which methods are compared at equal wall-clock; None is the time that
            every training has reached.
        folders: as for `known_records`.
    """
    known = known_records(plan, folders)
    records = [known[arm] for arm in plan.arms if arm in known]
    patients = {case.case_id: case.patient for case in plan.manifest.cases(plan.role)}
    seconds = shortest(records) if minutes is None else 60 * minutes
    made = make_report(
        f"Methods on {plan.manifest.name}, {plan.role} cases",
        _facts(plan, records),
        summarize(records, plan.role, patients),
        records,
        (seconds, at_time(records, seconds)),
        _pictures(plan, records),
        [arm.name for arm in plan.arms if arm not in known],
        [look for folder in (plan.output, *_outputs(folders)) for look in read_looks(folder)],
    )
    write_report(made, plan.output)
    return made


def _facts(plan: Plan, records: Sequence[Record]) -> dict[str, str]:
    manifest = plan.manifest
    facts = {
        "bundle": plan.bundle.resolve().name,
        "overlays": ", ".join(Path(name).stem for name in plan.overlays) or "none",
        "labeled / unlabeled": f"{len(manifest.labeled)} / {len(manifest.unlabeled)} cases",
        "scored on": f"{plan.role}, {len(manifest.cases(plan.role))} cases",
        "manifest": manifest.digest[:12],
        "settings": plan.settings_digest[:12],
    }
    if records:
        facts["trained on"] = "; ".join(sorted({record.machine for record in records}))
        days = sorted({record.date[:10] for record in records})
        facts["scores read"] = " to ".join(dict.fromkeys((days[0], days[-1])))
        revisions = sorted({record.revision[:10] for record in records if record.revision})
        facts["revision"] = ", ".join(revisions) or "unknown"
    return facts


def _pictures(plan: Plan, records: Sequence[Record]) -> dict[str, dict[str, bytes]]:
    """By method and seed: the first seed of each method whose evaluation is here or in MLflow."""
    tracked, pictures = Tracked(plan.tracking, plan.experiment), dict[str, dict[str, bytes]]()
    shown = set[str]()
    for record in records:
        if record.method in shown:
            continue
        folder = plan.evaluation(record.arm)
        run = from_folder(folder)
        if run is None or not run.pictures:
            parameters = {"evaluated": record.method, "role": plan.role, "seed": str(record.seed)}
            parameters["results"] = folder.name
            run = tracked.find("evaluate", {**parameters, "manifest": plan.manifest.digest})
        if run is not None and run.pictures:
            shown.add(record.method)
            pictures[f"{record.method}, seed {record.seed}"] = dict(run.pictures)
    return pictures


def _outputs(folders: Sequence[Path]) -> list[Path]:
    """The comparisons whose `records` these folders are."""
    return list(dict.fromkeys(Path(folder).resolve().parent for folder in folders))


def _record_look(plan: Plan, arms: Sequence[Arm]) -> None:
    if not plan.reason.strip():
        raise ConfigError(
            "--reason is empty; say why the test cases are opened, the report will repeat it."
        )
    if arms:
        record_look(plan.output, _look(plan, arms))


def _look(plan: Plan, arms: Sequence[Arm]) -> Look:
    return Look(
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        plan.reason,
        tuple(dict.fromkeys(arm.method for arm in arms)),
        tuple(dict.fromkeys(arm.seed for arm in arms)),
        plan.manifest.digest,
        plan.settings_digest,
    )
