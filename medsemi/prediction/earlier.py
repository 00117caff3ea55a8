"""What an earlier run left, told from files of others: those are neither overwritten nor replaced."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from medsemi.prediction.codes import DISCLAIMER
from medsemi.prediction.ledger import RECORD
from medsemi.prediction.run_json import run_file
from medsemi.prediction.summary import SUMMARY

REPORT = "report.html"
_RUN, _CASE = b'"medsemi.run/', b'"medsemi.case/'
# The schema is the first key of a record.
_START = 200


def holds_results(folder: Path) -> bool:
    """Whether a run wrote into a folder, also one that was killed before it wrote its record."""
    return (
        any(_starts_with(path, _RUN) for path in folder.glob("run*.json"))
        or any(_is_log(path) for path in folder.glob("run*.log"))
        or any(_starts_with(path, _CASE) for path in folder.glob(f"cases/*/{RECORD}"))
    )


def foreign_file(out: Path, shard: tuple[int, int]) -> str | None:
    """What a run would overwrite though no earlier run wrote it.

    Args:
        out: the output folder; it need not exist.
        shard: index from 1, and count.

    Returns:
        The first such file or folder, relative to `out`; None if there is none.

    Raises:
        OSError: if the folder cannot be searched.
    """
    # A training writes a run.json too, so each record has to speak for itself.
    for name in (run_file(shard, ".json"), run_file((1, 1), ".json")):
        if (out / name).exists() and not _starts_with(out / name, _RUN):
            return name
    if holds_results(out):
        return None
    log = out / run_file(shard, ".log")
    if log.exists() and log.stat().st_size > 0:
        return log.name
    cases = out / "cases"
    found = [out / SUMMARY, out / REPORT, *(cases.glob("[!.]*") if cases.is_dir() else [cases])]
    return next((str(path.relative_to(out)) for path in sorted(found) if path.exists()), None)


def _starts_with(path: Path, mark: bytes) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return mark in file.read(_START)
    return False


def _is_log(path: Path) -> bool:
    """Whether a log has our heading; a full disk may have cut it."""
    with suppress(OSError), path.open("rb") as file:
        heading = file.readline(_START).strip()
        return bool(heading) and DISCLAIMER.encode().startswith(heading)
    return False
