"""A run of `medsemi predict`: from files to case folders, and what is told about it.

Cases are read ahead in threads, segmented one after the other in the main thread, and written in one
more thread, in the order in which they were found. What happens to one case never stops the others.

Exit codes: 0 all that can be predicted is done; 1 usage or model error, nothing done; 2 some cases
were refused or failed; 3 none is done; 4 the output folder is in use, full or not writable; 130
interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Unfinished
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from medsemi.prediction import disk
from medsemi.prediction.ahead import AHEAD, WAITING_SHARE, Behind, read_ahead
from medsemi.prediction.case import Case
from medsemi.prediction.codes import DISCLAIMER, Finding, RunStopped, no_images
from medsemi.prediction.commit import tidy
from medsemi.prediction.console import Console
from medsemi.prediction.discovery.files import check_there, first_image
from medsemi.prediction.earlier import foreign_file
from medsemi.prediction.host_memory import host_bytes
from medsemi.prediction.interruption import Interrupted, interruptible, undisturbed
from medsemi.prediction.ledger import of_shard, quick_key
from medsemi.prediction.lock import Held, hold, hold_folder, not_writable, others_at_work
from medsemi.prediction.log import Log, now, trace
from medsemi.prediction.mishap import Stage, explain, refuse_warnings, status_of
from medsemi.prediction.model import load_model
from medsemi.prediction.options import Options
from medsemi.prediction.place import beside, in_their_folders
from medsemi.prediction.run_json import (
    INTERRUPTED,
    RunFacts,
    exit_code,
    merge_runs,
    run_file,
    write_run,
)
from medsemi.prediction.settle import (
    Reading,
    Run,
    already,
    export,
    foregone,
    read,
    settle,
    stands,
)
from medsemi.prediction.stages import STAGES, SegmentsCases, Stages
from medsemi.prediction.summary import write_summary

# What ends a run before its last case and is told with its results: the disk is full, or the model
# is broken. A wrong option says nothing about a folder, and one that another run took over is its own.
_TOLD = ("E04", "E10")
# What is said of all that is ignored by one code.
_IGNORED = {
    "S01": ("file is", "files are", "ignored: no medical images"),
    "S14": ("folder is", "folders are", "passed over: results of predict are no scans"),
}
# An interrupted run waits this long for the case that is being written.
PATIENCE_S = 5.0
_RESERVE = ".medsemi-reserve"
_SUMMARY_LOCK = ".medsemi-summary-lock"


def predict(
    inputs: Sequence[Path],
    model_folder: Path,
    out: Path,
    options: Options,
    console: Console,
    stages: Stages = STAGES,
) -> int:
    """Segment all that fits the model in some folders and files.

    Args:
        inputs: folders, which are walked, and files.
        model_folder: of the bundle.
        out: the output folder; made if needed.
        options: what was chosen.
        console: is told what happens.
        stages: what is done.

    Returns:
        The exit code: 0, 2, 3 or 130, see the module.

    Raises:
        RunStopped: the run cannot start (exit code 1 or 4), or lost its folder to another run (4).
    """
    model = load_model(model_folder)
    _check_places(inputs, out, model_folder)
    try:
        _spare_others(inputs, out, options)
        (out / "cases").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(out, error) from error
    log = Log(out / run_file(options.shard, ".log"), DISCLAIMER)
    run = Run(out, model, options, stages, console, log)
    with undisturbed():
        try:
            with hold_folder(out, options.shard) as held:
                code = _recorded(run, inputs, held)
        except RunStopped as stop:
            if stop.finding.code in _TOLD:
                _conclude(run)
            raise
        _conclude(run)
    console.end(Counter(run.outcomes.values()))
    return code


def _check_places(inputs: Sequence[Path], out: Path, model: Path) -> None:
    """Refuse inputs that are not there, and to write into one or into the model.

    Raises:
        RunStopped: E12 or E13, exit code 1.
    """
    target = out.resolve()
    if target == model.resolve():
        raise RunStopped("E13", why="--out is the model's own folder; name another folder")
    for path in inputs:
        check_there(path)
        if path.resolve() == target or target in path.resolve().parents:
            raise RunStopped(
                "E13", why="an INPUT lies in the output folder; name another folder with --out"
            )


def _spare_others(inputs: Sequence[Path], out: Path, options: Options) -> None:
    """Refuse a folder where a file of somebody else would be overwritten, or a scan taken for a result.

    Raises:
        RunStopped: E13, exit code 1.
        OSError: the folder cannot be searched.
    """
    foreign = foreign_file(out, options.shard)
    if foreign is not None:
        why = f"{out} holds {foreign}, which no earlier run of predict wrote; choose another --out"
        raise RunStopped("E13", why=why)
    parents = out.resolve().parents
    scan = first_image(out) if any(path.resolve() in parents for path in inputs) else None
    if scan is not None:
        why = (
            f"{out} lies in an INPUT and holds {scan}, which would be left out as results are; choose"
            " another --out"
        )
        raise RunStopped("E13", why=why)


def _recorded(run: Run, inputs: Sequence[Path], held: Held) -> int:
    """Run, and write run.json however it ends.

    Raises:
        RunStopped: see `predict`; exit code 1 or 4.
    """
    start, stopped = now(), None
    run.log.event(f"run starts: model {run.model.name} {run.model.version} {run.model.digest}")
    behind = Behind()
    try:
        with interruptible():
            code = _run(run, inputs, held, behind)
    except Interrupted:
        code = _interrupted(run, behind)
    except RunStopped as stop:
        stopped, code = stop, _stopped(run, stop)
    except Exception as error:
        run.log.event(f"run ends by a mistake of the program: {trace(error)}")
        raise
    with suppress(OSError):
        (run.out / _RESERVE).unlink(missing_ok=True)
    facts = RunFacts(
        start,
        now(),
        run.model,
        run.options,
        run.noted.get("device", ""),
        run.outcomes,
        run.noted.get("ignored", 0),
        code,
        run.noted.get("known", 0),
        run.noted.get("stopped", ""),
    )
    if stopped is None or stopped.finding.code in _TOLD:
        with suppress(OSError):  # the disk may be full
            write_run(run.out, facts)
    run.log.event(f"run ends with exit code {code}")
    if stopped is not None and code not in (2, 3):
        raise stopped
    return code


def _interrupted(run: Run, behind: Behind) -> int:
    """Drop the case in the network; give the one that is being written a few seconds."""
    with suppress(RunStopped, Unfinished):
        behind.wait(PATIENCE_S)
    run.dropped.set()
    finding = Finding("E14")
    run.noted["stopped"] = finding.code
    run.console.say("-", finding.code, finding.text)
    return INTERRUPTED


def _stopped(run: Run, stop: RunStopped) -> int:
    """Drop what is at work, and tell of a full disk; who calls the command tells all other reasons."""
    run.dropped.set()
    run.noted["stopped"] = stop.finding.code
    # E12 names a folder of the user, which may be called as a patient is.
    said = stop.finding.code if stop.finding.code == "E12" else stop.finding
    run.log.event(f"run stops: {said}")
    if stop.exit_code in (2, 3):
        run.console.say("-", stop.finding.code, stop.finding.text)
    return stop.exit_code


def _run(run: Run, inputs: Sequence[Path], held: Held, behind: Behind) -> int:
    scan = run.stages.discover(inputs, run.options, run.model, run.console.files)
    run.noted["ignored"] = len(scan.ignored)
    known = _outside(scan.cases, run.out)
    if not known:
        raise no_images(inputs)
    _check_names(known)
    cases = [case for case in known if of_shard(case, run.options.shard)]
    run.noted["known"] = len(cases)
    run.log.event(f"{len(cases)} cases, {len(scan.ignored)} files ignored")
    cases = _named(run, cases, known)
    _tell_ignored(run, scan.ignored)
    run.console.begin(len(cases))
    _work(run, cases, held, behind)
    ends = set(run.outcomes.values())
    if ends <= {"skipped"} and any(case.outcome == "predict" for case in known):
        return 0  # what can be predicted belongs to other shards
    return exit_code(run.outcomes.values())


def _tell_ignored(run: Run, ignored: Sequence[tuple[str, Finding]]) -> None:
    count = Counter(finding.code for _, finding in ignored)
    for code, (one, many, what) in _IGNORED.items():
        if count[code]:
            which = f"1 {one}" if count[code] == 1 else f"{count[code]} {many}"
            run.console.say("-", code, f"{which} {what}; medsemi inspect names them.")


def _named(run: Run, cases: Sequence[Case], known: Sequence[Case]) -> list[Case]:
    """Tidy the folders of the cases of this run, and give each case the name of its folder."""
    folder, alone = run.out / "cases", run.options.shard[1] == 1
    names = {each.case_id for case in cases for each in (case, beside(case))}
    tidy(folder, None if alone else names)
    keys = partial(quick_key, model=run.model, options=run.options)
    named = in_their_folders(run.out, cases, known, keys)
    if (
        not alone
    ):  # a name of an earlier run may be that of a case of another shard, unless it is ours
        tidy(folder, {case.case_id for case in named} - names)
    _check_names(named)
    return named


def _check_names(cases: Sequence[Case]) -> None:
    """Refuse a run in which one result would take the place of another.

    Raises:
        RunStopped: E13, exit code 1.
    """
    count = Counter(case.case_id.casefold() for case in cases)
    shared = next((case.case_id for case in cases if count[case.case_id.casefold()] > 1), None)
    if shared is not None:
        why = f"two scans would both be called {shared}; rename one of them, or run them separately"
        raise RunStopped("E13", why=why)


def _outside(cases: Sequence[Case], out: Path) -> list[Case]:
    """The cases that are no results of ours: the output folder may lie in an INPUT."""
    target = out.resolve()
    return [case for case in cases if target not in case.source.path.resolve().parents]


def _work(run: Run, cases: Sequence[Case], held: Held, behind: Behind) -> None:
    """Bring each case to its end, in order."""
    ends = {case.case_id: foregone(run, case) for case in cases}
    due = [case for case in cases if ends[case.case_id] is None]
    readings: Iterator[Future[Reading]] = iter(())
    network = None
    if due:
        disk.check_space(run.out, disk.needed_bytes(due, run.model, run.options))
        disk.reserve(run.out / _RESERVE)
        ahead = _read_ahead(run, due)
        readings = chain([next(ahead)], ahead)  # reading begins, while the network is loaded
        network = _load(run)
    for case in cases:
        held.check()
        behind.then(ends[case.case_id] or _segmented(run, case, next(readings), network))
    behind.wait()


def _read_ahead(run: Run, due: Sequence[Case]) -> Iterator[Future[Reading]]:
    at_once = min(AHEAD, run.options.workers)
    threads = max(1, run.options.workers // at_once)
    limit = WAITING_SHARE * host_bytes()
    return read_ahead(due, lambda case: read(run, case, threads), at_once, limit)


def _load(run: Run) -> SegmentsCases:
    """Load the network.

    Raises:
        RunStopped: E10 if that fails for whatever reason.
    """
    try:
        network = run.stages.load(run.model, run.options)
    except RunStopped:
        raise
    except Exception as error:
        run.log.event(f"loading the network failed: {trace(error)}")
        why = f"its network cannot be loaded ({type(error).__name__}, see run.log)"
        raise RunStopped("E10", why=why) from error
    run.noted["device"] = str(getattr(network, "device", ""))
    return network


def _segmented(
    run: Run, case: Case, reading: Future[Reading], network: SegmentsCases | None
) -> Callable[[], None]:
    """Segment one case.

    Returns:
        What ends it: writing the result, or what went wrong.
    """
    stage: Stage = "reading"
    known: tuple[Finding, ...] = ()
    try:
        run.console.stage(case.case_id, stage)
        read_case = reading.result()
        known = tuple(read_case.volume.findings)
        done = stands(run, case, read_case)
        if done is not None:
            return partial(already, run, done, read_case, case.case_id)
        if run.options.strict:
            refuse_warnings((*case.findings, *known))
        stage = "network"
        run.console.stage(case.case_id, stage)
        assert network is not None, "a case is read only where the network is loaded"
        progress = partial(run.console.part, case.case_id)
        segmentation = network.segment(case, read_case.volume, progress)
    except RunStopped:
        raise
    except Exception as error:
        finding = explain(error, case, stage, run.log)
        return partial(settle, run, case, status_of(finding), (*known, finding))
    return partial(export, run, case, read_case, segmentation)


def _conclude(run: Run) -> None:
    """Write what is about all cases, unless another shard is at work and will do so."""
    if others_at_work(run.out):
        return
    try:
        with hold(run.out / _SUMMARY_LOCK):
            write_summary(run.out)
            if run.options.shard[1] > 1:
                merge_runs(run.out, run.options.shard[1])
            run.stages.report(run.out)
    except Exception as error:
        stop = error.finding if isinstance(error, RunStopped) else None
        if stop is not None and stop.code == "E11":
            return  # another shard has come first; it sees all that we have committed
        run.log.event(f"summary or report failed: {trace(error)}")
        cause = (
            f"{type(error).__name__}, see run.log"
            if stop is None
            else stop.values.get("why", stop.code)
        )
        finding = Finding("E03", {"why": f"summary or report ({cause})"})
        run.console.say("-", finding.code, finding.text)
