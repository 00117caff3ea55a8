"""Exceptions of one case become codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.prediction.case import Case, Source
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.log import Log
from medsemi.prediction.mishap import Stage, explain, refuse_warnings, status_of

CASE = Case(
    "k", "c1", "volume", (), "predict", (), Source("nifti", "", Path("a/doe.nii"), "doe.nii", 1)
)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "run.log", "heading")


@pytest.mark.parametrize(
    ("error", "stage", "code", "status"),
    [
        (CaseRefused("R07", file="x"), "reading", "R07", "refused"),
        (CaseRefused("U01"), "reading", "U01", "refused"),
        (CaseRefused("E01"), "network", "E01", "failed"),
        (CaseRefused("S11"), "reading", "S11", "skipped"),
        (MemoryError(), "reading", "E01", "failed"),
        (RuntimeError("x"), "network", "E02", "failed"),
        (OSError(5, "Input/output error"), "writing", "E03", "failed"),
        (ValueError("x"), "writing", "E05", "failed"),
        (ValueError("x"), "reading", "E05", "failed"),
    ],
)
def test_codes(log: Log, error: Exception, stage: Stage, code: str, status: str) -> None:
    finding = explain(error, CASE, stage, log)
    assert (finding.code, status_of(finding)) == (code, status)
    assert finding.text


def test_the_sentence_leads_to_the_log(log: Log) -> None:
    finding = explain(RuntimeError("doe.nii has 3 channels\nmore"), CASE, "network", log)
    assert "… has 3 channels" in finding.text
    assert "more" not in finding.text
    number = str(finding.values["error"]).split()[1].rstrip(",")
    line = log.path.read_text().splitlines()[-1]
    assert number in line
    assert "more" in line
    assert "doe" not in line + finding.text


def test_the_same_mishap_has_the_same_number(log: Log) -> None:
    findings = [explain(ValueError("x"), CASE, "reading", log) for _ in range(2)]
    assert findings[0] == findings[1]
    assert explain(ValueError("y"), CASE, "reading", log) != findings[0]


def test_warnings_are_refused_by_name() -> None:
    refuse_warnings([Finding("S11")])
    with pytest.raises(CaseRefused, match=r"R12 Warning W01, W22 refused because of --strict"):
        refuse_warnings([Finding("W22"), Finding("W01"), Finding("W01")])
