"""What goes wrong with one case, as a code and a status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.log import Log, scrub, secrets_of, trace

Stage = Literal["reading", "network", "writing"]
_STATUS = {"S": "skipped", "R": "refused", "U": "refused", "E": "failed"}
_LONGEST = 200


def status_of(finding: Finding) -> str:
    """Status of a case that ends with this code: skipped, refused or failed."""
    return _STATUS[finding.code[0]]


def explain(error: Exception, case: Case, stage: Stage, log: Log) -> Finding:
    """Put an exception of one case into a code; what it does not say goes to the log.

    Args:
        error: what was raised.
        case: at which.
        stage: in which.
        log: gets type, scrubbed message and places of an exception that is no refusal.
    """
    if isinstance(error, CaseRefused):
        return error.finding
    if isinstance(error, MemoryError):
        return Finding("E01")
    secrets = secrets_of(case)
    told = trace(error, secrets)
    told_bytes = f"{case.case_id} {told}".encode(errors="backslashreplace")
    number = hashlib.sha256(told_bytes).hexdigest()[:8]
    log.event(f"case {case.case_id} {stage} failed, {number}: {told}")
    why = f"{type(error).__name__} {number}"
    if stage == "network":
        return Finding("E02", {"error": f"{why}, {_first_line(error, secrets)}".rstrip(" ,")})
    if stage == "writing" and isinstance(error, OSError):
        return Finding("E03", {"why": f"{why}, {error.strerror or ''}".rstrip(" ,")})
    return Finding("E05", {"id": number})


def _first_line(error: Exception, secrets: Iterable[str]) -> str:
    line = next(iter(str(error).strip().splitlines()), "")[:_LONGEST]
    return scrub(line, secrets).rstrip(".")


def refuse_warnings(findings: Iterable[Finding]) -> None:
    """With `--strict`, no result stands that carries a warning.

    Raises:
        CaseRefused: R12, naming the codes of the warnings.
    """
    codes = sorted({finding.code for finding in findings if finding.code.startswith("W")})
    if codes:
        raise CaseRefused("R12", warning=", ".join(codes))
