"""Names of cases: stable, unique, and without what identifies a patient unless that is asked for."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medsemi.prediction.discovery.draft import Draft

HASH_DIGITS, SUFFIX_DIGITS, LONGEST = 12, 6, 80
_ENDINGS = re.compile(r"\.(nii(\.gz)?|nrrd|nhdr|mha|mhd|dcm|ima)$", re.IGNORECASE)


def case_ids(drafts: Sequence[Draft], names: str) -> list[str]:
    """Name cases.

    Args:
        drafts: all cases of a run.
        names: `auto`, `hash`, `path` or `header`, see `Options`.

    Returns:
        A name for each, as a folder may be called on any file system.
    """
    return unique([(draft, case_id(draft, names)) for draft in drafts])


def unique(named: Sequence[tuple[Draft, str]]) -> list[str]:
    """Names that no file system takes for one another; those that are so already stay.

    Args:
        named: cases, each with the name that it is to have.
    """
    count = Counter(name.casefold() for _, name in named)
    return [
        name if count[name.casefold()] == 1 else _with_suffix(name, draft) for draft, name in named
    ]


def told_apart(drafts: Sequence[Draft]) -> list[Draft]:
    """Files of one name, from several INPUTs, with their places in their identities.

    Their names are all that is known of files that are not DICOM; all others stay what they are.

    Args:
        drafts: all cases of a run.
    """
    paths: dict[str, set[Path]] = defaultdict(set)
    for draft in drafts:
        if draft.source.kind != "dicom":
            paths[draft.group].add(draft.source.path)
    return [_told_apart(draft, len(paths[draft.group]) > 1) for draft in drafts]


def _told_apart(draft: Draft, shared: bool) -> Draft:
    if draft.source.kind == "dicom":
        return draft
    groups = (draft.group, f"{draft.group}|{draft.source.path.resolve()}")
    return replace(draft, group=groups[shared], groups=groups)


def names_in_any_run(draft: Draft, names: str) -> tuple[str, ...]:
    """What a case is called, whichever others there are: an earlier run may have had other inputs.

    Args:
        draft: from `told_apart`.
        names: see `case_ids`.
    """
    found: list[str] = []
    for group in draft.groups:
        each = replace(draft, group=group)
        name = case_id(each, names)
        found += [name, _with_suffix(name, each)]
    return tuple(dict.fromkeys(found))


def case_id(draft: Draft, names: str) -> str:
    """The name of a case, not yet made unique."""
    if names == "auto":
        names = "path" if draft.source.kind in {"nifti", "nrrd", "mha"} else "hash"
    volume = "" if draft.source.volume is None else f"_v{draft.source.volume + 1}"
    if names == "hash":
        return f"c{_digest(draft.group)[:HASH_DIGITS]}{volume}"
    plain = draft.path_name if names == "path" else draft.header_name
    name = _plain(plain) + volume
    return name if len(name) <= LONGEST else _with_suffix(name, draft)


def _plain(name: str) -> str:
    """A name of letters, digits, dot, dash and line, which hides nothing and means no folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", _ENDINGS.sub("", name)).lstrip(".") or "case"


def _with_suffix(name: str, draft: Draft) -> str:
    suffix = _digest(f"{draft.key}|{draft.source.name}")[:SUFFIX_DIGITS]
    return f"{name[: LONGEST - SUFFIX_DIGITS - 1]}_{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
