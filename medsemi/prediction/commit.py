"""Case folders that are there whole or not at all.

Files are written into a hidden folder and flushed to the disk; the record comes last; then one rename
gives the folder its name. A folder that is replaced steps aside first, and goes, or is kept under
another name. Whatever a killed run leaves
is either a whole case folder or hidden, and is tidied by the next run.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from medsemi.atomic import flush

_TEMPORARY, _ASIDE = ".tmp-", ".old-"


def new_folder(cases: Path, case_id: str) -> Path:
    """Make the hidden folder in which the files of a case are written."""
    folder = cases / _hidden(_TEMPORARY, case_id)
    folder.mkdir(parents=True)
    return folder


def commit(
    folder: Path,
    cases: Path,
    case_id: str,
    write_record: Callable[[Path], None],
    kept: Path | None = None,
) -> Path:
    """Give a case folder its final name.

    Args:
        folder: from `new_folder`, with all files but the record.
        cases: the folder of all cases.
        case_id: the final name.
        write_record: writes the record into the folder.
        kept: where the folder goes that is replaced; None removes it.

    Returns:
        The final folder.
    """
    for path in sorted(folder.rglob("*")):
        flush(path)
    write_record(folder)
    for path in (*folder.glob("*.json"), folder):
        flush(path)
    final, aside = cases / case_id, kept or cases / _hidden(_ASIDE, case_id)
    if final.exists():
        aside.parent.mkdir(exist_ok=True)
        final.rename(aside)
    folder.rename(final)
    flush(cases)
    if kept is None:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def discard(folder: Path) -> None:
    """Remove a hidden folder, whatever it holds."""
    shutil.rmtree(folder, ignore_errors=True)


def tidy(cases: Path, case_ids: Collection[str] | None = None) -> None:
    """Remove what killed runs left, and bring back a folder that had stepped aside.

    Nobody else may work on these cases meanwhile: hold the lock.

    Args:
        cases: the folder of all cases.
        case_ids: only theirs; None takes all.
    """
    for folder in sorted(cases.glob(".*-*-*-*")):
        prefix, case_id = folder.name[:5], folder.name[5:].rsplit("-", 2)[0]
        if prefix not in (_TEMPORARY, _ASIDE) or (case_ids is not None and case_id not in case_ids):
            continue
        if prefix == _ASIDE and not (cases / case_id).exists():
            folder.rename(cases / case_id)
        else:
            discard(folder)


def _hidden(prefix: str, case_id: str) -> str:
    return f"{prefix}{case_id}-{os.getpid()}-{secrets.token_hex(4)}"
