"""The log tells what happened and gives nobody away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from medsemi.prediction.case import Case, Source
from medsemi.prediction.log import Log, scrub, secrets_of, trace


def test_events_are_lines_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    Log(path, "heading").event("one\ntwo")
    Log(path, "heading").event("three")
    lines = path.read_text().splitlines()
    assert lines[0] == "heading"
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines[1:]] == [
        "one | two",
        "three",
    ]


def test_half_a_line_of_a_killed_run_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text("heading\n2026-01-01T00:00:00Z ca")
    Log(path, "heading").event("next")
    assert [line[-4:] for line in path.read_text().splitlines()] == ["ding", "Z ca", "next"]


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    Log(tmp_path / "absent" / "run.log", "heading").event("x")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cannot read '/data/DOE JANE/1.dcm'", "DOE"),
        ("cannot read /data/doe/1.dcm, sorry", "doe"),
        ("cannot read C:\\scans\\doe.dcm", "doe"),
        ("series 1.2.840.113619.2.5 is bad", "113619"),
        ("name DOE^JANE^^ is bad", "JANE"),
        ("id 424242 is bad", "424242"),
        ('got "DOE"', "DOE"),
    ],
)
def test_what_identifies_is_hidden(text: str, hidden: str) -> None:
    assert hidden not in scrub(text)
    assert "…" in scrub(text)


@pytest.mark.parametrize(
    "text", ["shape (512, 512, 300) is too large", "1.5 mm and 0.25 mm", "CUDA out of memory"]
)
def test_plain_facts_stay(text: str) -> None:
    assert scrub(text) == text


@given(st.text(alphabet="abcDEF^=_ -", min_size=3, max_size=12))
def test_a_secret_never_comes_through(secret: str) -> None:
    assert secret not in scrub(f"x {secret} y {secret.upper()}", {secret})


def test_secrets_come_from_path_tags_and_header() -> None:
    path = Path(str(get_testdata_file("CT_small.dcm")))
    tags = {"series_description": "Liver of ZZTOP"}
    case = Case(
        "k", "c", "volume", (), "predict", (), Source("dicom", "CT", path, "x/y", 1, tags=tags)
    )
    secrets = secrets_of(case)
    assert {"CompressedSamples", "CT1", "1CT1", "ZZTOP", "CT_small.dcm"} <= secrets
    assert "CompressedSamples" not in scrub("bad compressedsamples^ct1", secrets)


def test_secrets_of_a_file_that_is_gone() -> None:
    case = Case("k", "c", "volume", (), "predict", (), Source("dicom", "CT", Path("a/b"), "b", 1))
    assert "b" in secrets_of(case)


def test_a_trace_names_places_in_code_but_no_folder() -> None:
    try:
        scrub(None)  # type: ignore[arg-type]
    except TypeError as error:
        told = trace(error)
    assert re.match(r"TypeError: .*\| medsemi/prediction/log.py:\d+ scrub < test_log.py:\d+ ", told)
    assert str(Path(__file__).parent) not in told
