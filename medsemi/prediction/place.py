"""Which folder is that of a scan: scans may share a name, and a scan may have had another one.

A name does not tell two scans apart: folders of several patients hold files and folders of one name,
and headers may repeat a number. Of two that are handed over in two runs, the second result stands beside
the first; in one run both have longer names. What tells whose result a folder holds is the place of a scan.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsemi.prediction.case import Case
from medsemi.prediction.ledger import case_folder, is_whole, read_record

_DIGITS = 6
_UIDS = ("study_uid", "series_uid")


def place_of(case: Case) -> str:
    """SHA-256 of what a case comes from, whatever else there is in a run.

    That is the path of its file; for DICOM study, series, stack and volume, wherever the files lie; and
    the folder where the series has no UID.
    """
    source = case.source
    if source.kind != "dicom":
        return hashlib.sha256(os.fsencode(source.path.resolve())).hexdigest()
    study, series = (source.tags.get(uid, "") for uid in _UIDS)
    images = [each.uid for each in source.slices if each.uid]
    unnamed = [str(source.path.parent.resolve()), min(images, default="")]
    # The key begins with the series, and says more of it where another one of the run is like it.
    within = case.key.rsplit("|", 2)[1:]
    parts = [study, *([series] if series else unnamed), *within]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def in_their_folders(
    out: Path, cases: Sequence[Case], known: Sequence[Case], quick_key: Callable[[Case], str]
) -> list[Case]:
    """Cases under the names of their folders.

    That is the folder of an earlier result, whatever the case was called then; else its own name, unless
    the result of another scan is there.

    Args:
        out: the output folder.
        cases: to be named.
        known: all cases, also those of other shards; they keep their names.
        quick_key: of the files of a case, see `medsemi.prediction.ledger`.
    """
    there = {path.name for path in (out / "cases").iterdir()}
    used = {case.case_id.casefold() for case in known}
    found = []
    for case in cases:
        names = [
            name
            for name in _names(case)
            if name in there and (name == case.case_id or name.casefold() not in used)
        ]
        found.append(_in_its_folder(out, case, names, quick_key))
        used.add(found[-1].case_id.casefold())
    return found


def _names(case: Case) -> list[str]:
    """All names that a result of a case may have, its own first."""
    names = dict.fromkeys((case.case_id, *case.names))
    # An older version put DICOM beside the result of a file with nothing behind the line.
    ends = [_suffix(case), *(["_"] if case.source.kind == "dicom" else [])]
    return [*names, *(name + end for end in ends for name in names)]


def _in_its_folder(
    out: Path, case: Case, names: Sequence[str], quick_key: Callable[[Case], str]
) -> Case:
    """A case under one of the names, that of a whole result rather than of a refusal, or its own."""
    ours = []
    for rank, name in enumerate(names):
        folder = case_folder(out, name)
        record = read_record(folder)
        if record is not None:
            whole = is_whole(folder, record)
            if record.get("place") == place_of(case) or (
                # Files that were moved, or a result that is older than places.
                whole and record.get("quick_key", "") == (quick_key(case) or None)
            ):
                ours.append((not whole, rank, name))
    if ours:
        return replace(case, case_id=min(ours)[-1])
    return case if case.outcome == "skip" or not is_taken(out, case) else beside(case)


def is_taken(out: Path, case: Case) -> bool:
    """Whether the folder of a case holds the result of another scan.

    Args:
        out: the output folder.
        case: whose place is looked for; a record that tells none is no other's.
    """
    folder = case_folder(out, case.case_id)
    record = read_record(folder)
    return record is not None and is_whole(folder, record) and _is_of_another(record, case)


def _is_of_another(record: Mapping[str, Any], case: Case) -> bool:
    if "place" in record:
        return bool(record["place"] != place_of(case))
    # Results of DICOM that are older than their places tell study and series.
    source = record.get("source", {})
    told = [source.get(uid) for uid in _UIDS]
    return bool(told[1]) and told != [case.source.tags.get(uid, "") for uid in _UIDS]


def beside(case: Case) -> Case:
    """The case under the name that it has where its own is taken."""
    return replace(case, case_id=f"{case.case_id}{_suffix(case)}")


def own_name(case: Case) -> str:
    """The name that a case would have if it were not taken."""
    return case.case_id.removesuffix(_suffix(case))


def _suffix(case: Case) -> str:
    return f"_{place_of(case)[:_DIGITS]}"
