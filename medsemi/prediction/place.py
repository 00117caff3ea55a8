"""Two files of one name, handed over in two runs: the second result stands beside the first.

Cases that are not DICOM are named by their files, so the name alone does not tell two of them apart.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from medsemi.prediction.case import Case
from medsemi.prediction.ledger import case_folder, is_whole, read_record

_DIGITS = 6


def place_of(case: Case) -> str:
    """SHA-256 of where the file of a case lies; empty for DICOM, which is named by its series."""
    if case.source.kind == "dicom":
        return ""
    return hashlib.sha256(os.fsencode(case.source.path.resolve())).hexdigest()


def is_taken(out: Path, case: Case) -> bool:
    """Whether the folder of a case holds the result of a file at another place.

    Args:
        out: the output folder.
        case: whose place is looked for; a record that tells none is no other's.
    """
    folder, place = case_folder(out, case.case_id), place_of(case)
    record = read_record(folder)
    return record is not None and is_whole(folder, record) and record.get("place", place) != place


def beside(case: Case) -> Case:
    """The case under the name that it has where its own is taken."""
    return replace(case, case_id=f"{case.case_id}{_suffix(case)}")


def own_name(case: Case) -> str:
    """The name that a case would have if it were not taken."""
    return case.case_id.removesuffix(_suffix(case))


def _suffix(case: Case) -> str:
    place = place_of(case)
    # A name may end in a line of its own: without a place there is nothing to cut.
    return f"_{place[:_DIGITS]}" if place else ""
