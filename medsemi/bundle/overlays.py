"""What an overlay lies on, and whether that undoes it: of two files that say one thing the later counts.

An overlay says it in its first line: `# overlay of: common.yaml, train.yaml`; a semicolon separates
alternatives. A file that says nothing lies on `common.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medsemi.bundle.reading import SEPARATOR, Finding, read

COMMON = "common.yaml"
_MARKER = re.compile(r"#\s*overlay of:(.*)")


def bases(file: Path) -> list[list[str]]:
    """Name the files below an overlay.

    Args:
        file: a configuration file of a bundle.

    Returns:
        Their names in order, a list for each alternative; no alternative for `common.yaml`, which is
        nothing by itself.
    """
    marker = _MARKER.fullmatch(_first_line(file))
    if marker is not None:
        alternatives = marker[1].split(";")
        return [[n.strip() for n in names.split(",") if n.strip()] for names in alternatives]
    if file.name == COMMON:
        return []
    return [[COMMON] if file.with_name(COMMON).exists() else []]


def named_overlay(bundle: Path, name: str) -> Path:
    """The file that a command means by `--overlay NAME`; it may be absent.

    Args:
        bundle: the folder with `configs`.
        name: path of a file, or the name of a configuration of the bundle, with or without its ending.
    """
    inside = name if name.endswith((".yaml", ".json")) else f"{name}.yaml"
    return Path(name) if Path(name).is_file() else bundle / "configs" / inside


def misplaced_overlays(files: Sequence[Path]) -> list[Finding]:
    """Find the overlays that stand before a file that they lie on, and that it would undo.

    Args:
        files: in the order of `--config_file`; the overlay may be of another folder, as a plan is.
    """
    findings = []
    for place, file in enumerate(files):
        before, after = files[:place], files[place + 1 :]
        # By path: an overlay of another folder may be named as a file of the bundle is.
        below = {file.with_name(name) for names in bases(file) for name in names}
        if not any(other.name == COMMON for other in (*before, file)):  # such as a plan
            below.update(other for other in after if other.name == COMMON)
        later = [
            other.name
            for other in after
            if other in below and other not in before and _undoes(other, file)
        ]
        if later:
            last = later[-1]
            sentence = f"{last} comes after it and undoes what it says; name it after {last}."
            findings.append(Finding(str(file), "", sentence))
    return findings


def _undoes(later: Path, overlay: Path) -> bool:
    """Whether a file sets a key that the overlay before it set; adding to one undoes nothing."""
    set_before = {str(key).lstrip("+").split(SEPARATOR)[0] for key in read(overlay, [])}
    return any(str(key).split(SEPARATOR)[0] in set_before for key in read(later, []))


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline().strip()
    except (OSError, ValueError):  # told by those who read all of it
        return ""
