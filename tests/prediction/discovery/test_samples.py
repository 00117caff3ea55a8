"""Real files: every sample set, the broken ones, the NIfTI ones, and pydicom's own test files."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options

# The names of the tests are needed before fixtures exist.
SHARED = Path(os.environ.get("MEDSEMI_SHARED", Path(__file__).parents[4] / "shared"))
MANIFEST_FILE = SHARED / "data" / "dicom" / "manifest.json"
MANIFEST: dict[str, Any] = (
    json.loads(MANIFEST_FILE.read_text())
    if MANIFEST_FILE.exists()
    else {"sets": {"absent": {}}, "broken": {"absent": []}, "nifti": {"absent": []}}
)
# Told apart by gradient directions, which the reference did not look at.
OTHER_SPLIT = {"mr_bvalues_philips"}
NAMES = {"shift_per_slice_mm": "shift_mm"}
PYDICOM = Path(pydicom.data.__file__).parent / "test_files"
# Codes that only the voxels tell.
OF_VOXELS = {"W14"}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def assert_geometry(measured: Any, expected: dict[str, Any], name: str) -> None:
    for key, value in expected.items():
        found = measured[NAMES.get(key, key)]
        if key == "split_by":
            assert found == value or name in OTHER_SPLIT
        else:
            tolerance = 0.05 if key.endswith("_deg") else 1e-3
            assert listed(found) == pytest.approx(listed(value), abs=tolerance), key


def outcomes(expected: str) -> list[str]:
    if expected.startswith("split"):
        volumes = ["predict"] * int(expected[5])
        return ["predict"] * 2 + ["skip"] * 2 if expected.endswith("phase_skipped") else volumes
    return [expected]


def assert_case(found: list[Case], expected: dict[str, Any], name: str) -> None:
    assert sorted(case.outcome for case in found) == outcomes(expected["outcome"])
    assert {code for case in found for code in case.codes} == set(expected["codes"])
    for case in found:
        assert set(case.flags) == set(expected["flags"])
        assert_geometry(case.geometry, expected.get("geometry", {}), name)


def same(case: Case, expected: dict[str, Any]) -> bool:
    """Whether a case is the one that is expected, where a set has two."""
    geometry = expected.get("geometry", {})
    return case.category == expected["class"] and (
        not geometry
        or (
            case.geometry["positions"] == geometry["positions"]
            and case.geometry["pixel_spacing"] == pytest.approx(geometry["pixel_spacing"], abs=1e-3)
        )
    )


@pytest.mark.parametrize("name", sorted(MANIFEST["sets"]))
def test_every_set_is_what_the_manifest_says(
    name: str, samples: Path, manifest: dict[str, Any]
) -> None:
    scan = discover([samples / name], Options())
    left = list(scan.cases)
    for expected in manifest["sets"][name]["cases"]:
        found = [case for case in left if same(case, expected)]
        if expected["class"] == "not_image":  # one case each series, of which some sets have many
            assert len({case.source.tags["series_uid"] for case in found}) == len(found)
            found = found[:1] if {case.codes for case in found} == {found[0].codes} else found
            left = []
        assert_case(found, expected, name)
        left = [case for case in left if case not in found]
    assert not left
    assert scan.files == manifest["sets"][name]["files"]


@pytest.mark.parametrize("name", sorted(MANIFEST["sets"]))
def test_every_object_is_in_one_case(name: str, samples: Path, manifest: dict[str, Any]) -> None:
    cases = discover([samples / name], Options()).cases
    # A file of many frames may hold several volumes.
    whole = [case for case in cases if not case.source.volume or case.source.files > 1]
    assert sum(case.source.files for case in whole) == manifest["sets"][name]["files"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (name, case["with_gaps_fill"])
        for name, entry in MANIFEST["sets"].items()
        for case in entry.get("cases", [])
        if "with_gaps_fill" in case
    ],
)
def test_gaps_are_filled_if_few(name: str, expected: str, samples: Path) -> None:
    (case,) = discover([samples / name], Options(gaps="fill")).cases
    outcome, code = expected.split()[:2]
    assert (case.outcome, case.codes) == (outcome, (code,))
    assert (case.grid is not None) == (outcome == "predict")


def test_a_filled_gap_leaves_a_hole_in_the_slices(samples: Path) -> None:
    (case,) = discover([samples / "ct_gap_one_missing"], Options(gaps="fill")).cases
    assert case.grid is not None
    assert case.grid.shape == (64, 64, 28)
    assert case.interpolated == (11,)
    assert len(case.slice_index) == 27


def test_an_uneven_stack_lies_between_the_slices_of_an_even_grid(samples: Path) -> None:
    (case,) = discover([samples / "ct_uneven_made"], Options(gaps="fill")).cases
    assert case.grid is not None
    step = case.grid.affine[2, 2]
    assert step <= 5.0
    assert case.slice_index[-1] == pytest.approx(case.grid.shape[2] - 1)
    true = [source.position for source in case.source.slices]
    assert [case.grid.affine[2, 3] + step * i for i in case.slice_index] == pytest.approx(true)


def test_all_samples_at_once_are_the_sum_of_each(samples: Path, manifest: dict[str, Any]) -> None:
    """Those that share no image with another set."""
    seen: Counter[str] = Counter()
    alone: dict[str, list[Case]] = {}
    for name in manifest["sets"]:
        alone[name] = list(discover([samples / name], Options()).cases)
        seen.update({str(case.source.tags["series_uid"]) for case in alone[name]})
    names = [
        name
        for name, cases in alone.items()
        if all(seen[str(case.source.tags["series_uid"])] == 1 for case in cases)
    ]
    assert len(names) > 30
    together = discover([samples / name for name in names], Options()).cases
    expected = [case for name in names for case in alone[name]]

    def facts(case: Case) -> tuple[object, ...]:
        return case.case_id, case.category, case.outcome, case.codes, case.source.files

    assert sorted(map(facts, together)) == sorted(map(facts, expected))
    backwards = discover([samples / name for name in reversed(names)], Options()).cases
    assert [case.case_id for case in backwards] == [case.case_id for case in together]


@pytest.mark.parametrize("name", sorted(MANIFEST["broken"]))
def test_broken_files_stop_nothing(name: str, samples: Path, manifest: dict[str, Any]) -> None:
    category, code = manifest["broken"][name]
    good = samples / "ct_axial_noext"
    scan = discover([good, samples / "broken" / name], Options())
    assert scan.cases[0].outcome == "predict" or scan.cases[-1].outcome == "predict"
    others = [case for case in scan.cases if case.outcome != "predict"]
    if category == "ignored":
        assert not others
        assert [(found, finding.code) for found, finding in scan.ignored] == [(name, code)]
    else:
        assert [case.category for case in others] == [category]
        assert code in others[0].codes


@pytest.mark.parametrize("name", sorted(MANIFEST["nifti"]))
def test_nifti_files(name: str, samples: Path, manifest: dict[str, Any]) -> None:
    outcome, codes = manifest["nifti"][name]
    cases = discover([samples / "nifti" / name], Options()).cases
    expected = ["refuse"] if outcome == "unreadable" else outcomes(outcome)
    assert [case.outcome for case in cases] == expected
    assert all(set(case.codes) == set(codes) - OF_VOXELS for case in cases)
    assert (outcome == "unreadable") == (cases[0].category == "unreadable")


def test_a_disc_directory_is_ignored_and_its_files_are_found(
    samples: Path, manifest: dict[str, Any]
) -> None:
    scan = discover([samples / "dicomdir"], Options(gaps="fill"))
    assert ("DICOMDIR", "S01") in [(name, finding.code) for name, finding in scan.ignored]
    found = {case.source.name: case for case in scan.cases}
    assert set(found) == {entry["first_file"] for entry in manifest["dicomdir"]}
    for entry in manifest["dicomdir"]:
        case = found[entry["first_file"]]
        assert (case.category, case.source.files) == (entry["class"], entry["files"])
    holes = found["77654033/CT2/17106"]
    assert (holes.codes, holes.geometry["missing"]) == (("R01",), 161)
    assert found["98892003/MR2/4950"].codes == ("S04",)


def test_one_image_in_ten_encodings_is_one_case(samples: Path) -> None:
    (case,) = discover([samples / "transfer_syntaxes"], Options()).cases
    assert (case.category, case.source.files) == ("single", 10)
    assert case.codes == ("S05", "W02")


@pytest.mark.parametrize(
    ("pattern", "category", "code"),
    [
        ("693_J2KI.dcm", "single", ""),
        ("CT_small.dcm", "single", "S05"),
        ("J2K_pixelrep_mismatch.dcm", "single", ""),
        ("MR_small*.dcm", "single", "S05"),
        ("examples_overlay.dcm", "single", ""),
        ("MR_truncated.dcm", "single", "R07"),
        ("*SR.dcm", "not_image", "S02"),
        ("reports*.dcm", "not_image", "S02"),
        ("rt*.dcm", "not_image", "S02"),
        ("liver*.dcm", "not_image", "S02"),
        ("waveform_ecg.dcm", "not_image", "S02"),
        ("SC_*.dcm", "screenshot", "S03"),
        ("JPEG*.dcm", "screenshot", "S03"),
        ("examples_rgb_color.dcm", "screenshot", "S03"),
        ("examples_ybr_color.dcm", "screenshot", "S03"),
        ("examples_jpeg2k.dcm", "screenshot", "S03"),
        ("examples_palette.dcm", "screenshot", "S03"),
        ("ExplVR_BigEnd.dcm", "screenshot", "S03"),
        *(
            (f"{name}.dcm", "unreadable", "U01")
            for name in (
                *("no_meta", "ExplVR_BigEndNoMeta", "UN_sequence", "priv_SQ", "nested_priv_SQ"),
                *("no_meta_group_length", "empty_charset_LEI", "meta_missing_tsyntax"),
            )
        ),
    ],
)
def test_files_of_pydicom(pattern: str, category: str, code: str) -> None:
    paths = sorted(PYDICOM.glob(pattern))
    assert paths
    for path in paths:
        (case,) = discover([path], Options()).cases
        assert case.category == category, path.name
        assert not code or code in case.codes, path.name


def test_no_file_of_pydicom_is_too_much() -> None:
    scan = discover([PYDICOM], Options())
    ignored = {name for name, _ in scan.ignored}
    assert {"zipMR.gz", "dicomdirtests/DICOMDIR", "dicomdirtests/TINY_ALPHA/DICOMDIR"} <= ignored
    assert scan.files > 150


def test_headers_of_a_case(samples: Path) -> None:
    """What the record of a case needs is there, and no name of a patient."""
    (case,) = discover([samples / "ct_axial_ffs"], Options()).cases
    tags = case.source.tags
    assert tags["patient_position"] == "FFS"
    assert tags["manufacturer"] == "GE MEDICAL SYSTEMS"
    assert tags["transfer_syntax"] == "1.2.840.10008.1.2"
    assert all(tags[f"{key}_uid"] for key in ("series", "study", "frame_of_reference"))
    assert not {"patient_id", "patient_name", "study_date"} & set(tags)


def test_non_square_pixels(samples: Path) -> None:
    (case,) = discover([samples / "mr_nonsquare_pixels"], Options()).cases
    assert case.grid is not None
    assert case.grid.shape == (64, 28, 4)
    assert case.grid.spacing == pytest.approx((6.4, 4.0, 0.5), abs=1e-3)


def test_a_tilted_grid_is_exact(samples: Path) -> None:
    (case,) = discover([samples / "ct_tilt_philips"], Options()).cases
    assert case.grid is not None
    assert case.grid.affine[:3, 2] == pytest.approx([0, 0, 2.5], abs=1e-3)
    assert case.geometry["spacing"] == pytest.approx(2.3708, abs=1e-3)
    (refused,) = discover([samples / "ct_tilt_philips"], Options(tilt="refuse")).cases
    assert (refused.outcome, refused.codes) == ("refuse", ("R03",))
