"""run.log: what happened, one event per line, in UTC, with nothing that identifies a patient."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from medsemi.prediction.case import Case

# Kinds of DICOM values in which names, numbers, dates and free text stand.
_TELLING = {"PN", "LO", "SH", "LT", "ST", "UT", "UI", "DA", "DT"}
_SHORTEST = 3
_HIDDEN = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "'…'"),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[\\/][^\s:,;)\]]+"), "…"),
    (re.compile(r"\b\d+(?:\.\d+){4,}\b"), "…"),
    (re.compile(r"\b\w*\^[\w^]*"), "…"),
    (re.compile(r"\b\d{5,}\b"), "…"),
)


def now() -> str:
    """This moment in UTC, as `2026-01-31T12:00:00Z`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Log:
    """Appends events to a log file; a full disk silences it and stops nothing."""

    def __init__(self, path: Path, heading: str) -> None:
        """Continue a log, or begin it with a heading.

        Args:
            path: the file.
            heading: first line of a new file.
        """
        self.path = path
        self._lock = threading.Lock()
        with suppress(OSError):
            end = path.read_bytes()[-1:] if path.exists() else b""
            if not path.exists() or path.stat().st_size == 0:
                self._append(heading)
            elif end != b"\n":  # a killed run left half a line
                self._append("")

    def event(self, text: str) -> None:
        """Write one event; line breaks become bars."""
        with self._lock, suppress(OSError):
            self._append(f"{now()} {' | '.join(text.splitlines())}")

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Hide what may identify a patient: quoted values, paths, UIDs, long numbers, names.

    Args:
        text: such as the message of an exception.
        secrets: further strings to hide, whatever their case.
    """
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=lambda s: (-len(s), s)):
        text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return text


def secrets_of(case: Case) -> set[str]:
    """Texts that may identify the patient of a case: from its path, tags and first header."""
    source = case.source
    words = {*source.path.parts, source.path.stem, source.name, *Path(source.name).parts}
    words |= {str(value) for value in source.tags.values()}
    if source.kind == "dicom":
        words |= _header_texts(source.path)
    return words | {part for word in words for part in re.split(r"[\^\s_/\\=]+", word)}


def _header_texts(path: Path) -> set[str]:
    """Names, numbers, dates and texts of a header, as far as it can be read."""
    from pydicom import dcmread  # noqa: PLC0415  (slow, and needed only once something failed)

    texts: set[str] = set()
    with suppress(Exception):  # a damaged header is often why we are here
        for element in dcmread(path, stop_before_pixels=True, force=True).iterall():
            if element.VR in _TELLING:
                texts.add(str(element.value))
    return texts


def trace(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Where an exception came from, in one line: type, scrubbed message, frames.

    Args:
        error: the exception.
        secrets: see `scrub`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    message = scrub(" ".join(str(error).split()), secrets)
    return f"{type(error).__name__}: {message} | " + " < ".join(reversed(places))


def _module(filename: str) -> str:
    """`monai/inferers/utils.py` of a path of code: the rest tells whose machine it is."""
    parts = Path(filename).parts
    for root, own in (("site-packages", 0), ("dist-packages", 0), ("medsemi", 1)):
        if root in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(root) - own :])
    return parts[-1]
