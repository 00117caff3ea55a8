"""Images of several patients are never one volume, whatever UIDs an anonymizer left them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction.case import Case

Find = Callable[..., list[Case]]
Write = Callable[..., Path]
BLANK = {"StudyInstanceUID": "", "SeriesInstanceUID": ""}
ALPHA, BETA = "ALPHA-4711", "BETA-4712"


def write_patient(write: Write, number: str, first: int, **elements: Any) -> None:
    """Twelve slices of a patient; those of the next may go on where they end."""
    for z in range(first, first + 12):
        image = {"PatientID": number, "SOPInstanceUID": f"1.2.{z + 1}"} | elements
        write(f"in/{z:02}", z, **image)


def test_patients_under_one_series_identity_are_refused(
    write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    write_patient(write_image, ALPHA, 0)
    (before,) = cases_of(tmp_path)
    assert before.outcome == "predict"
    write_patient(write_image, BETA, 12)
    (case,) = cases_of(tmp_path)
    assert (case.outcome, case.codes) == ("refuse", ("R13",))
    assert case.findings[0].text.startswith(
        "Images of 2 patients carry the identity of one series."
    )


@pytest.mark.parametrize("slot", [{}, {"SOPInstanceUID": "1.2.9"}])
def test_patients_at_the_same_positions_or_with_the_same_image_uid_are_refused(
    slot: dict[str, str], write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    for number in (ALPHA, BETA):
        for z in range(12):
            image = {"SOPInstanceUID": f"1.2.{number[-1]}.{z}", "PatientID": number} | slot
            write_image(f"in/{number}{z}", z, InstanceNumber=z, **image)
    cases = cases_of(tmp_path, series="all")
    assert cases
    assert all(case.outcome != "predict" for case in cases)


LATIN, UNICODE = {"SpecificCharacterSet": "ISO_IR 100"}, {"SpecificCharacterSet": "ISO_IR 192"}
EVA = {"PatientName": "Müller^Eva", "PatientID": ALPHA, "PatientBirthDate": "19700101"}


@pytest.mark.parametrize(
    ("copy", "code"),
    [
        (EVA | LATIN | {"PatientName": "Möller^Eva"}, "R04"),
        (EVA | LATIN | {"PatientBirthDate": "19700102"}, "R04"),
        (EVA | UNICODE | {"PatientName": "Müller^Eva^^^"}, "W02"),
        (EVA | LATIN | {"PatientName": "", "PatientBirthDate": ""}, "W02"),
        (EVA | LATIN | {"AccessionNumber": "7"}, "W02"),
    ],
)
def test_copies_of_an_image_that_name_different_patients_are_refused(
    copy: dict[str, str], code: str, write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    """The segmentation would have the name of the file whose path comes first."""
    for z in range(12):
        write_image(f"a/{z:02}", z, SOPInstanceUID=f"1.2.{z + 1}", **EVA, **LATIN)
        write_image(f"b/{z:02}", z, SOPInstanceUID=f"1.2.{z + 1}", **copy)
    (case,) = cases_of(tmp_path)
    assert case.codes == (code,)
    write_image("0", 0, SOPInstanceUID="1.2.1")  # names nobody, and comes first
    (case,) = cases_of(tmp_path)
    assert case.codes == (code,)
    assert "ller" not in f"{case.source.tags}{[finding.text for finding in case.findings]}".lower()


@pytest.mark.parametrize("named", [BETA, ""])
def test_images_without_a_patient_go_with_the_only_one(
    named: str, write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    write_patient(write_image, named, 0)
    write_patient(write_image, "", 12)
    assert [case.codes for case in cases_of(tmp_path)] == [()]
    write_patient(write_image, named, 0, **BLANK)
    write_patient(write_image, "", 12, **BLANK)
    assert [case.source.files for case in cases_of(tmp_path)] == [24]


@pytest.mark.parametrize("uid", [{}, {"SOPInstanceUID": ""}])
@pytest.mark.parametrize("names", ["hash", "path", "header"])
def test_patients_without_uids_in_one_folder_are_cases_of_their_own(
    uid: dict[str, str], names: str, write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    write_patient(write_image, ALPHA, 0, **BLANK, **uid)
    write_patient(write_image, BETA, 12, **BLANK, **uid)
    cases = cases_of(tmp_path, names=names)
    assert [(case.outcome, case.source.files, len(case.source.slices)) for case in cases] == [
        ("predict", 12, 12)
    ] * 2
    assert len({case.case_id for case in cases}) == len({case.key for case in cases}) == 2
    said = [finding.text for case in cases for finding in case.findings]
    keys = [case.key for case in cases]
    ids = [] if names == "header" else [case.case_id for case in cases]
    assert not [text for text in (*said, *keys, *ids) if "ALPHA" in text or "BETA" in text]
