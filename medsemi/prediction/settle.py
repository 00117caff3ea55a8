"""How a case ends: its folder, its lines on the screen and in the log, its outcome."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from medsemi.prediction import disk
from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.commit import commit, discard, new_folder
from medsemi.prediction.console import Console
from medsemi.prediction.ledger import (
    case_folder,
    changed_since,
    fingerprint,
    is_whole,
    quick_key,
    read_record,
    same_record,
)
from medsemi.prediction.log import Log, scrub
from medsemi.prediction.mishap import explain, refuse_warnings, status_of
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.place import is_taken, own_name, place_of
from medsemi.prediction.run_json import exit_code
from medsemi.prediction.stages import Stages

# In the output folder: case folders that were replaced after somebody had changed something in them.
KEPT = "kept"
_STATUS = {"skip": "skipped", "refuse": "refused"}
# What says nothing about a result: the scan could not be read, decoded or computed this time, …
_UNABLE = ("U01", "U02", "R09", "R11")
# … or it is refused by an option that was another one when its result was made.
_BY_OPTION = {"R01": "gaps", "R02": "gaps", "R03": "tilt", "R12": "strict"}


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps of a run share.

    Attributes:
        out: the output folder.
        model: that is run.
        options: that were chosen.
        stages: what is done.
        console: where it is told.
        log: where it is written down.
        outcomes: case id -> `done`, `already`, `refused`, `failed` or `skipped`, as they come in.
        noted: for run.json, as it becomes known: `device`, `ignored`, `known`, `stopped`.
        dropped: once set, nothing more is committed.
    """

    out: Path
    model: Model
    options: Options
    stages: Stages
    console: Console
    log: Log
    outcomes: dict[str, str] = field(default_factory=dict)
    noted: dict[str, Any] = field(default_factory=dict)
    dropped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Reading:
    """A case that has been read.

    Attributes:
        volume: its voxels.
        quick_key: of its files, taken before they were read.
        seconds: that reading took.
    """

    volume: Volume
    quick_key: str
    seconds: float


def read(run: Run, case: Case, threads: int) -> Reading:
    """Read the voxels of a case."""
    start = time.perf_counter()
    key = quick_key(case, run.model, run.options)
    volume = run.stages.read(case, run.model.intensity.background, threads)
    return Reading(volume, key, time.perf_counter() - start)


def foregone(run: Run, case: Case) -> Callable[[], None] | None:
    """What ends a case before a voxel is read; None where it has to be predicted."""
    if case.outcome != "predict":
        return partial(settle, run, case, _STATUS[case.outcome])
    if run.options.strict:
        try:
            refuse_warnings(case.findings)
        except CaseRefused as refusal:
            return partial(settle, run, case, "refused", [refusal.finding])
    folder = case_folder(run.out, case.case_id)
    if run.options.overwrite == "never" and folder.exists():
        return partial(_keep, run, case)
    return partial(_already, run, case) if _is_unchanged(run, case) else None


def _is_unchanged(run: Run, case: Case) -> bool:
    """Whether the result of these very files is there, told without opening one."""
    folder = case_folder(run.out, case.case_id)
    record, key = read_record(folder), quick_key(case, run.model, run.options)
    if record is None or not key or record.get("quick_key") != key:
        return False
    return _stands(run, folder, record)


def stands(run: Run, case: Case, reading: Reading) -> Case | None:
    """The case under whose name the result of these voxels is there, or None.

    Their files may have other times, or lie at another place than when it was made.
    """
    mark = fingerprint(case, reading.volume.digest, run.model, run.options)
    for each in (case, replace(case, case_id=own_name(case))):
        folder = case_folder(run.out, each.case_id)
        record = read_record(folder)
        if record and record.get("fingerprint") == mark and _stands(run, folder, record):
            return each
    return None


def _stands(run: Run, folder: Path, record: Mapping[str, Any]) -> bool:
    if run.options.overwrite == "all" or not is_whole(folder, record):
        return False
    warned = any(entry["code"].startswith("W") for entry in record.get("codes", []))
    return not (run.options.strict and warned)


def already(run: Run, case: Case, reading: Reading, shown: str) -> None:
    """End a case whose result stands; next time its files need not be opened.

    Args:
        run: this run.
        case: that ends, see `stands`.
        reading: of its files.
        shown: name under which its reading was told.
    """
    folder = case_folder(run.out, case.case_id)
    record = read_record(folder)
    if record is not None:
        # Where that fails, as on a full disk, the files are read once more; the result stands.
        with suppress(OSError):
            run.stages.write_record(folder, {**record, "quick_key": reading.quick_key})
    _already(run, case, shown)


def _already(run: Run, case: Case, shown: str = "") -> None:
    _tell(run, case, "already", [Finding("S12")], shown=shown)


def _keep(run: Run, case: Case) -> None:
    """Leave a folder as it is, whatever it says."""
    record = read_record(case_folder(run.out, case.case_id)) or {}
    status = str(record.get("status", "failed"))
    run.console.say(case.case_id, status, "Left as it is (--overwrite never).")
    _tell(run, case, "already" if status == "done" else status, [])


def settle(run: Run, case: Case, status: str, findings: Sequence[Finding] = ()) -> None:
    """End a case without a result: a folder that holds the record alone says why.

    A case that is skipped, such as one that is not selected this time, keeps an earlier result, and so
    does one that this time could not be read, or not computed, or is refused by another option.

    Args:
        run: this run.
        case: that ends.
        status: skipped, refused or failed.
        findings: what was found besides `case.findings`.

    Raises:
        RunStopped: E04: the disk is full.
    """
    findings = (*case.findings, *findings)
    try:
        record = run.stages.record(case, status, findings, run.model, run.options)
        record["place"] = place_of(case)
        if _says_nothing(run, case, findings):
            _note(run, case, "Its earlier result is kept.")
        elif not _is_kept(run, case, record):
            folder = new_folder(run.out / "cases", case.case_id)
            _commit(run, case, folder, record)
    except Exception as error:
        _stop_if_full(run, case, error)
        status, findings = "failed", (*findings, explain(error, case, "writing", run.log))
    _tell(run, case, status, findings)


def _says_nothing(run: Run, case: Case, findings: Sequence[Finding]) -> bool:
    """Whether there is a result of which the reasons to have none this time say nothing."""
    folder = case_folder(run.out, case.case_id)
    record = read_record(folder)
    reasons = [finding.code for finding in findings if finding.code[0] in "RUE"]
    if not reasons or record is None or not is_whole(folder, record):
        return False
    then, now = record.get("options", {}), asdict(run.options)
    other = {code for code, name in _BY_OPTION.items() if then.get(name, now[name]) != now[name]}
    return all(code[0] == "E" or code in _UNABLE or code in other for code in reasons)


def _is_kept(run: Run, case: Case, record: Mapping[str, Any]) -> bool:
    """Whether what is there stays, rather than a record without a result."""
    folder = case_folder(run.out, case.case_id)
    existing = read_record(folder)
    return folder.exists() and (
        run.options.overwrite == "never"
        or (record["status"] == "skipped" and is_whole(folder, existing))
        or same_record(existing, record)
    )


def export(run: Run, case: Case, reading: Reading, segmentation: Segmentation) -> None:
    """Write the result of a case and give its folder the final name.

    Raises:
        RunStopped: E04: the disk is full.
    """
    run.console.stage(case.case_id, "writing")
    start = time.perf_counter()
    volume, mark = reading.volume, fingerprint(case, reading.volume.digest, run.model, run.options)
    folder = None
    known = (*volume.findings, *segmentation.findings)
    try:
        folder = new_folder(run.out / "cases", case.case_id)
        written = run.stages.write(folder, case, volume, segmentation, run.model, run.options, mark)
        known = (*known, *written.findings)
        if run.options.strict:
            refuse_warnings((*case.findings, *known))
        seconds = {"read": reading.seconds, **segmentation.seconds}
        seconds["write"] = time.perf_counter() - start
        record = run.stages.record(
            case,
            "done",
            (*case.findings, *known),
            run.model,
            run.options,
            volume=volume,
            segmentation=segmentation,
            written=written,
            fingerprint=mark,
            seconds=seconds,
            peak_memory_gb=_peak_memory(),
        )
        facts = {"quick_key": reading.quick_key, "place": place_of(case)}
        _commit(run, case, folder, record | facts)
    except Exception as error:
        if folder is not None:
            discard(folder)
        _stop_if_full(run, case, error)
        finding = explain(error, case, "writing", run.log)
        settle(run, case, status_of(finding), (*known, finding))
        return
    _tell(run, case, "done", (*case.findings, *known), sum(seconds.values()))


def _peak_memory() -> dict[str, float]:
    """Most memory that this process has had, in GB; on the GPU too where the network ran there."""
    # Linux counts in units of 1024 bytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["gpu"] = torch.cuda.max_memory_allocated() / 1e9
    return {where: round(gb, 3) for where, gb in peak.items()}


def _commit(run: Run, case: Case, folder: Path, record: dict[str, Any]) -> None:
    if run.dropped.is_set():
        discard(folder)
        return
    try:
        changed, added = changed_since(case_folder(run.out, case.case_id))
        kept = run.out / KEPT / f"{case.case_id}-{_stamp()}" if changed or added else None
        commit(
            folder,
            folder.parent,
            case.case_id,
            lambda at: run.stages.write_record(at, record),
            kept,
        )
    except Exception:
        discard(folder)
        raise
    if kept is not None:
        # The name of a file that was added may be that of a patient.
        what = f"{', '.join(changed)} was changed" if changed else "a file was added"
        where = kept.relative_to(run.out)
        _note(
            run, case, f"Since its earlier result was made, {what}: that folder is kept as {where}."
        )


def _stamp() -> str:
    """The time in UTC, as a part of a name."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _stop_if_full(run: Run, case: Case, error: BaseException) -> None:
    if disk.is_disk_full(error):
        code = 2 if exit_code(run.outcomes.values()) != 3 else 3
        needed = disk.needed_bytes([case], run.model, run.options)
        raise disk.disk_full(run.out, needed, code) from error


def _note(run: Run, case: Case, sentence: str) -> None:
    run.console.say(case.case_id, "note", sentence)
    run.log.event(f"case {case.case_id} {sentence}")


def _tell(
    run: Run,
    case: Case,
    outcome: str,
    findings: Sequence[Finding],
    seconds: float | None = None,
    shown: str = "",
) -> None:
    own = replace(case, case_id=own_name(case))
    if outcome in ("done", "refused", "failed") and own != case and is_taken(run.out, own):
        _note(run, case, f"{own.case_id} is the result of another scan.")
    for finding in findings:
        run.console.say(case.case_id, finding.code, finding.text)
        run.log.event(f"case {case.case_id} {finding.code} {scrub(finding.text)}")
    took = "" if seconds is None else f" in {seconds:.1f} s"
    if outcome == "done":
        run.console.say(case.case_id, "done", f"Segmented{took}.")
    run.log.event(f"case {case.case_id} {outcome}{took}")
    run.outcomes[case.case_id] = outcome
    run.console.finished(shown or case.case_id)
