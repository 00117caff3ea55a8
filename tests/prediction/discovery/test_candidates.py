"""Which cases are chosen, refused because of --strict, and how they are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.model import Label, Model
from medsemi.prediction.options import Options

Find = Callable[..., list[Case]]


def model(*modality: str, **others: Any) -> Model:
    return Model(Path("bundle"), "bundle", "1", "", modality, (Label(1, "organ"),), **others)


def write_nifti(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)).to_filename(path)
    return path


def codes(cases: list[Case]) -> list[tuple[str, ...]]:
    return [case.codes for case in cases]


def test_another_modality_is_no_candidate(samples: Path) -> None:
    inputs = [samples / "ct_axial_noext", samples / "mr_feet_first_ge"]
    found = {c.source.modality: c for c in discover(inputs, Options(), model("MR")).cases}
    assert (found["MR"].outcome, found["CT"].outcome) == ("predict", "skip")
    assert (
        found["CT"].findings[0].text.startswith("Modality CT is not what this model expects (MR).")
    )


def test_a_refusal_of_another_modality_does_not_count(samples: Path) -> None:
    (case,) = discover([samples / "ct_gap_one_missing"], Options(), model("MR")).cases
    assert (case.outcome, case.codes) == ("skip", ("S08",))


@pytest.mark.parametrize("mixed", [False, True])
def test_files_of_unknown_modality(mixed: bool, tmp_path: Path, write_image: Any) -> None:
    """Those that the user named or gave a folder of are taken; deep in a mixed folder they are not."""
    write_nifti(tmp_path / "sub" / "deep.nii.gz", 8, 8, 12)
    write_nifti(tmp_path / "top.nii.gz", 8, 8, 12)
    if mixed:
        write_image("slice.dcm")
    cases = discover([tmp_path], Options(), model("CT")).cases
    found = {c.source.name: c.outcome for c in cases if c.source.kind == "nifti"}
    assert found == {"top.nii.gz": "predict", "sub/deep.nii.gz": "skip" if mixed else "predict"}
    accepted = discover([tmp_path], Options(), model("any")).cases
    assert {c.outcome for c in accepted if c.source.kind == "nifti"} == {"predict"}


def test_more_volumes_than_the_model_takes(samples: Path) -> None:
    folder = samples / "mr_enhanced_4d_philips"
    (case,) = discover([folder], Options(), model("MR", max_volumes=3)).cases
    assert (case.outcome, case.codes, case.source.files) == ("skip", ("S09",), 1)
    assert len(case.source.slices) == 32
    uid = case.source.tags["series_uid"]
    for wanted in (f"{uid}#3", f"{case.case_id}#3", f"{case.case_id}_v3"):
        chosen, rest = sorted(
            discover([folder], Options(series=wanted), model("MR", max_volumes=3)).cases,
            key=lambda c: c.outcome,
        )
        assert (chosen.source.volume, chosen.outcome) == (2, "predict")
        assert (rest.outcome, len(rest.source.slices)) == ("skip", 24)
    every = discover([folder], Options(series="all"), model("MR", max_volumes=3)).cases
    assert [c.outcome for c in every] == ["predict"] * 4


def test_min_slices_of_the_model(samples: Path) -> None:
    (case,) = discover([samples / "ct_tiny_volume"], Options(), model("CT", min_slices=4)).cases
    assert (case.category, case.codes) == ("single", ("S05",))
    assert case.findings[0].text == "Fewer than 4 slice positions (3)."


@pytest.mark.parametrize(("slices", "code"), [(1, "S05"), (2, "W07")])
def test_a_model_of_single_slices_takes_two_of_a_series(
    slices: int, code: str, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """One slice has no distance to the next, so that its voxels have no volume; a file tells it."""
    for z in range(slices):
        write_image(f"{z}", z)
    write_nifti(tmp_path / "flat.nii", 8, 8, 1)
    series, flat = discover([tmp_path], Options(), model("CT", "any", min_slices=1)).cases
    assert series.codes == (code,)
    assert code != "S05" or series.findings[0].text == "Fewer than 2 slice positions (1)."
    assert (flat.outcome, flat.codes) == ("predict", ("W07",))


def test_a_series_is_chosen_by_uid_description_or_case(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for z in range(4):
        write_image(f"a{z}", z, SeriesDescription="Abdomen Portal", SeriesInstanceUID="1.2.3")
        write_image(f"b{z}", z, SeriesDescription="Thorax", SeriesInstanceUID="1.2.4")
    every = cases_of(tmp_path)
    assert [case.outcome for case in every] == ["predict", "predict"]
    for wanted in ("1.2.3", "portal", every[0].case_id):
        chosen = cases_of(tmp_path, series=wanted)
        assert codes(chosen)[1] == ("S10",)
        assert [case.outcome for case in chosen] == ["predict", "skip"]
    with pytest.raises(RunStopped, match="E13"):
        discover([tmp_path], Options(series="1.2.5"))


def test_projections_are_only_taken_when_named(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for z in range(12):
        write_image(f"{z}", z, ImageType=["DERIVED", "SECONDARY", "MIP_SAG"])
    assert codes(cases_of(tmp_path)) == [("S10",)]
    assert codes(cases_of(tmp_path, series="all")) == [()]
    assert codes(cases_of(tmp_path, series="1.2.826.3")) == [()]


def test_strict_refuses_every_warning(samples: Path, cases_of: Find) -> None:
    (case,) = cases_of(samples / "ct_empty_uids_made", strict=True)
    assert case.outcome == "refuse"
    assert case.codes == ("R12", "R12", "R12", "W07", "W01", "W19")
    assert case.findings[0].text.startswith("Warning W07 refused")
    assert cases_of(samples / "ct_axial_noext", strict=True)[0].outcome == "predict"


def test_a_phase_image_alone_is_skipped(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    kind = ["ORIGINAL", "PRIMARY", "P", "ND"]
    for z in range(12):
        write_image(f"{z}", z, Modality="MR", ImageType=kind)
    assert codes(cases_of(tmp_path)) == [("S11",)]


def test_warnings_of_headers(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for z in range(12):
        write_image(
            f"{z}",
            z,
            BurnedInAnnotation="YES",
            LossyImageCompression="01",
            PhotometricInterpretation="MONOCHROME1",
        )
    assert codes(cases_of(tmp_path)) == [("W09", "W11", "W22")]


@pytest.mark.parametrize(("count", "expected"), [(12, ("W10",)), (9, ("S03",))])
def test_a_long_gray_capture_is_a_volume(
    count: int,
    expected: tuple[str, ...],
    write_image: Callable[..., Path],
    tmp_path: Path,
    cases_of: Find,
) -> None:
    for z in range(count):
        write_image(f"{z}", z, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", ConversionType="WSD")
    assert codes(cases_of(tmp_path)) == [expected]


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"BitsAllocated": 1}, "R08"),
        ({"SOPInstanceUID": ""}, "W19"),
    ],
)
def test_what_else_headers_tell(
    elements: dict[str, Any],
    code: str,
    write_image: Callable[..., Path],
    tmp_path: Path,
    cases_of: Find,
) -> None:
    for z in range(12):
        write_image(f"{z}", z, **elements)
    (case,) = cases_of(tmp_path)
    assert case.codes == (code,)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, when the faults are made
@pytest.mark.parametrize(
    ("stated", "kept"),
    [("HFS", "HFS"), ("FFDL", "FFDL"), ("HFS DOE^JANE", ""), ("JANE", ""), ("HFSDOE", "")],
)
def test_a_patient_position_is_a_code_or_nothing(
    stated: str, kept: str, write_image: Callable[..., Path], cases_of: Find
) -> None:
    """It reaches the report and the preview."""
    path = write_image("image", PatientPosition=stated)
    (case,) = cases_of(path)
    assert case.source.tags["patient_position"] == kept


def test_a_modality_cannot_write_to_the_screen(
    write_image: Callable[..., Path], cases_of: Find
) -> None:
    path = write_image("image", Modality="ABCDEF")
    path.write_bytes(path.read_bytes().replace(b"ABCDEF", b"X\x1b[2J "))
    assert cases_of(path)[0].source.modality == ""


def test_a_damaged_file_makes_a_run_incomplete_unless_others_are_named(
    samples: Path, cases_of: Find
) -> None:
    inputs = [samples / "ct_axial_noext", samples / "broken" / "text.dcm"]
    good, damaged = cases_of(*inputs)
    assert (damaged.outcome, damaged.codes) == ("refuse", ("U01",))
    _, damaged = cases_of(*inputs, series=good.case_id)
    assert (damaged.outcome, damaged.codes) == ("skip", ("S10", "U01"))


def test_missing_decoders_are_told_before_the_run(
    samples: Path, monkeypatch: pytest.MonkeyPatch, cases_of: Find
) -> None:
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    (case,) = cases_of(samples / "mr_jpeg_lossless")
    assert (case.outcome, case.codes) == ("refuse", ("R09",))
    assert "openjpeg" in case.findings[0].text


def test_names_of_cases(samples: Path, cases_of: Find) -> None:
    (hashed,) = cases_of(samples / "ct_axial_ffs")
    assert re.fullmatch(r"c[0-9a-f]{12}", hashed.case_id)
    (nifti,) = cases_of(samples / "nifti" / "good.nii.gz")
    assert nifti.case_id == "good"
    (nifti,) = cases_of(samples / "nifti" / "good.nii.gz", names="hash")
    assert re.fullmatch(r"c[0-9a-f]{12}", nifti.case_id)
    paths = [case.case_id for case in cases_of(samples / "dicomdir", names="path")]
    assert len(set(paths)) == len(paths)
    assert "77654033_CT2" in paths
    (header,) = cases_of(samples / "ct_axial_ffs", names="header")
    assert not re.fullmatch(r"c[0-9a-f]{12}", header.case_id)


def test_names_are_unique_on_every_file_system(tmp_path: Path, cases_of: Find) -> None:
    for name in ("a/b.nii.gz", "a_b.nii.gz", "A_B.nii", "ä/ö.nii.gz", f"{'x' * 120}.nii.gz"):
        write_nifti(tmp_path / name, 4, 4, 12)
    names = [case.case_id for case in cases_of(tmp_path)]
    assert len({name.casefold() for name in names}) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,85}", name) for name in names)


@pytest.mark.parametrize(
    "changed",
    [
        {"PatientName": "M\xfcller^Eva"},
        {"PatientName": "M\xf6ller^Eva"},
        {"PatientID": "2"},
        {"PatientBirthDate": "19700101"},
        {"AccessionNumber": "A1"},
    ],
)
def test_what_a_segmentation_carries_is_known_as_a_digest(
    changed: dict[str, str], write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    usual = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Maller^Eva", "PatientID": "1"}

    def carried(**elements: str) -> str:
        for z in range(3):
            write_image(str(z), z, **(usual | (elements if z == 1 else {})))
        (case,) = cases_of(tmp_path)
        assert "Eva" not in str(case.source.tags)
        return str(case.source.tags["carried"])

    before = carried()
    assert carried() == before
    assert re.fullmatch(r"[0-9a-f]{64}", before)
    first = carried(**changed)
    assert first != before
    assert "PatientName" not in changed or carried(PatientName="M\xe4ller^Eva") not in (
        before,
        first,
    )


@pytest.mark.parametrize("names", ["auto", "path", "hash"])
def test_files_of_one_name_in_several_inputs_are_told_apart(
    names: str, tmp_path: Path, cases_of: Find
) -> None:
    inputs = [tmp_path / "p1", tmp_path / "p2", tmp_path / "p3"]
    for folder in inputs:
        write_nifti(folder / "ct.nii.gz", 4, 4, 12)
        write_nifti(folder / "four.nii", 4, 4, 12, 2)
        write_nifti(folder / "many.nii", 4, 4, 12, 9)
        (folder / "bad.nii").write_bytes(b"no image")
    write_nifti(inputs[0] / "alone.nii", 4, 4, 12)
    # Joined, the volumes of many.nii would be called like this file.
    write_nifti(inputs[0] / "many.nii.gz", 4, 4, 12)
    cases = cases_of(*inputs, names=names)
    assert len(cases) == len({case.case_id.casefold() for case in cases}) == 3 * 5 + 2
    assert len({case.key for case in cases}) == 3 * 5 + 2
    again = cases_of(*reversed(inputs), names=names)
    assert {c.case_id: c.source.path for c in again} == {c.case_id: c.source.path for c in cases}
    alone = {case.source.name: case.case_id for case in cases_of(inputs[0], names=names)}
    (kept,) = (case.case_id for case in cases if case.source.name == "alone.nii")
    assert kept == alone["alone.nii"]
    assert names == "hash" or (kept, alone["ct.nii.gz"]) == ("alone", "ct")


@pytest.mark.parametrize("uids", [{"SeriesInstanceUID": ""}, {}])
def test_series_of_one_identity_are_told_apart(
    uids: dict[str, str], write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for number in (1, 2):
        for z in range(3):
            study = {} if uids else {"StudyInstanceUID": f"1.2.{number}"}
            write_image(f"p{number}/{z}", z, SOPInstanceUID="", **study, **uids)
    cases = cases_of(tmp_path / "p1", tmp_path / "p2")
    assert len({case.case_id for case in cases}) == len({case.key for case in cases}) == 2


def test_copies_that_differ_only_in_place_are_a_conflict(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for z in range(3):
        write_image(f"{z}", z)
    assert codes(cases_of(tmp_path)) == [("W07",)]
    write_image("copy", 7, SOPInstanceUID=f"1.2.826.1.{int.from_bytes(b'1', 'big')}")
    assert codes(cases_of(tmp_path)) == [("R04",)]


def test_pixels_are_compared_only_where_bytes_differ(
    write_image: Callable[..., Path],
    tmp_path: Path,
    cases_of: Find,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Path] = []

    def digest(path: Path) -> str:
        asked.append(path)
        return "same"

    monkeypatch.setattr("medsemi.prediction.reading.pixels.pixel_digest", digest)
    for z in range(3):
        write_image(f"a/{z}", z, SOPInstanceUID=f"1.2.{z + 1}")
        write_image(f"b/{z}", z, SOPInstanceUID=f"1.2.{z + 1}")
    assert codes(cases_of(tmp_path)) == [("W07", "W02")]
    assert not asked
    write_image("b/1", 1, SOPInstanceUID="1.2.2", StudyID="another")
    assert codes(cases_of(tmp_path)) == [("W07", "W02")]
    assert len(asked) == 2


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunStopped, match="E12"):
        discover([tmp_path / "absent"], Options())
    with pytest.raises(RunStopped, match=r"E12 .*x cannot be looked at \(File name too long\)"):
        discover([tmp_path / ("x" * 300)], Options())
    scan = discover([tmp_path], Options())
    assert (scan.cases, scan.files) == ((), 0)
