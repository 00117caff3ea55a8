"""run.json: what a run was asked for, what ran, and how many cases ended how."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.prediction.lock import lock_path
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.software import software_versions
from medsemi.prediction.summary import codes_of, read_records

# What differs from run to run though the results are the same.
VOLATILE_KEYS = ("start", "end")
INTERRUPTED = 130


def exit_code(outcomes: Iterable[str]) -> int:
    """Exit code of a run whose cases ended like this.

    Args:
        outcomes: each `done`, `already`, `refused`, `failed` or `skipped`.

    Returns:
        0 all that can be predicted is done, 2 part of it, 3 nothing.
    """
    counts = Counter(outcomes)
    if not counts["done"] + counts["already"]:
        return 3
    return 2 if counts["refused"] + counts["failed"] else 0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What run.json says about one run.

    Attributes:
        start: in UTC.
        end: in UTC.
        model: that was run.
        options: that were chosen.
        device: name of the device; empty where no network was needed.
        outcomes: case id -> outcome.
        ignored: number of files that are no images.
        exit_code: of the command.
        known: number of cases that there are, also those that a run which was stopped did not reach.
        stopped: code of what ended the run before its last case; empty if nothing did.
    """

    start: str
    end: str
    model: Model
    options: Options
    device: str
    outcomes: Mapping[str, str]
    ignored: int
    exit_code: int
    known: int
    stopped: str


def run_file(shard: tuple[int, int], suffix: str) -> str:
    """Name of a file about one run: `run.json`; of a shard `run-2-of-8.json`."""
    index, count = shard
    return f"run{suffix}" if count == 1 else f"run-{index}-of-{count}{suffix}"


def write_run(out: Path, facts: RunFacts) -> None:
    """Write run.json; of a shard, `run-I-of-N.json`."""
    records = [record for folder, record in read_records(out) if folder.name in facts.outcomes]
    document = {
        "schema": "medsemi.run/1",
        "start": facts.start,
        "end": facts.end,
        "argv": _arguments(facts.options),
        "exit_code": facts.exit_code,
        "stopped_by": facts.stopped,
        "cases": facts.known,
        "counts": {
            "outcome": _count(facts.outcomes.values()),
            "class": _count(record.get("class", "") for record in records),
            "status": _count(record.get("status", "") for record in records),
            "code": _count(code for record in records for code in codes_of(record)),
        },
        "ignored_files": facts.ignored,
        "options": {**asdict(facts.options), "series": _told_series(facts.options)},
        "bundle": {
            "name": facts.model.name,
            "version": facts.model.version,
            "sha256": facts.model.digest,
        },
        "device": facts.device,
        "software": {**software_versions(), "python": platform.python_version()},
    }
    _write(out / run_file(facts.options.shard, ".json"), document)


def merge_runs(out: Path, count: int) -> None:
    """Write run.json from those of the shards, as far as they have run; it names the others.

    Args:
        out: the output folder.
        count: number of shards.
    """
    paths = [out / run_file((index, count), ".json") for index in range(1, count + 1)]
    shards = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    if not shards:
        return
    counts = {
        by: _count(name for shard in shards for name in _spread(shard["counts"][by]))
        for by in shards[0]["counts"]
    }
    interrupted = any(shard["exit_code"] == INTERRUPTED for shard in shards)
    stopped = next(filter(None, (shard.get("stopped_by") for shard in shards)), "")
    unfinished = _unfinished(out, count)
    code = exit_code(_spread(counts["outcome"]))
    if (stopped or unfinished) and code == 0:
        code = 2  # cases are missing
    merged = {
        **shards[-1],
        "start": min(shard["start"] for shard in shards),
        "end": max(shard["end"] for shard in shards),
        "exit_code": INTERRUPTED if interrupted else code,
        "stopped_by": stopped,
        "shards": {"count": count, "unfinished": unfinished},
        "cases": sum(shard.get("cases", 0) for shard in shards),
        "counts": counts,
        "device": ", ".join(sorted({shard["device"] for shard in shards} - {""})),
    }
    merged["options"]["shard"] = [1, 1]
    _write(out / run_file((1, 1), ".json"), merged)


def _unfinished(out: Path, count: int) -> list[int]:
    """Shards without a record, or with a lock: at work, killed, or never begun."""
    return [
        index
        for index in range(1, count + 1)
        if not (out / run_file((index, count), ".json")).exists()
        or lock_path(out, (index, count)).exists()
    ]


def _write(final: Path, document: Mapping[str, Any]) -> None:
    with write_atomically(final) as path:
        text = json.dumps(document, indent=1, ensure_ascii=False)
        # In JSON, the escape of what is no UTF-8 stands for just that.
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _spread(counts: Mapping[str, int]) -> Iterable[str]:
    return Counter(counts).elements()


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _told_series(options: Options) -> str:
    """What was asked for with `--series`, without a UID or text that may identify somebody."""
    return options.series if options.series in ("auto", "all") else "selected"


def _arguments(options: Options) -> Sequence[str]:
    """The options that differ from their defaults, as on a command line, without a path."""
    words = ["predict"]
    usual = Options()
    for name in (field.name for field in fields(options)):
        value = _told_series(options) if name == "series" else getattr(options, name)
        if value == getattr(usual, name):
            continue
        words.append(f"--{name}")
        if value is not True:
            joint = "/" if name == "shard" else ","
            words.append(joint.join(map(str, value)) if isinstance(value, tuple) else str(value))
    return words
