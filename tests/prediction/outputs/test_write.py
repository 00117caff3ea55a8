"""A whole case is written: all files agree, nothing identifies anyone, failures are told as they are."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.model import Model
from medsemi.prediction.options import OUTPUTS, Options
from medsemi.prediction.outputs import write as module
from medsemi.prediction.outputs.record import case_record, write_record
from medsemi.prediction.outputs.write import Written, write_case

MARK = "f" * 64
PICTURES = {"preview.png", "structures.png"}
REGULAR = (
    "ct_axial_noext",
    "ct_prone_made",
    "mr_prone_sagittal_siemens",
    "mr_feet_first_ge",
    "ct_tilt_philips",
    "ct_gap_one_missing",
    "ct_legacy_enhanced",
)


@pytest.fixture
def write(
    tmp_path: Path,
    make_case: Callable[..., Case],
    make_segmentation: Callable[..., Segmentation],
    make_volume: Callable[[Case], Volume],
    make_model: Callable[..., Model],
) -> Callable[..., tuple[Path, Case, Segmentation, Written]]:
    """Writes a case of a set, with spheres as its result, into a folder of its own."""

    def run(
        name: str | Path | Case,
        outputs: tuple[str, ...] = ("nifti", "seg", "volumes"),
        folder: str = "case",
        empty: bool = False,
        **changes: Any,
    ) -> tuple[Path, Case, Segmentation, Written]:
        case = name if isinstance(name, Case) else make_case(name)
        segmentation = replace(make_segmentation(case, empty=empty), **changes)
        (tmp_path / folder).mkdir()
        written = write_case(
            tmp_path / folder,
            case,
            make_volume(case),
            segmentation,
            make_model(),
            Options(outputs=outputs),
            MARK,
        )
        return tmp_path / folder, case, segmentation, written

    return run


Write = Callable[..., tuple[Path, Case, Segmentation, Written]]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", REGULAR)
def test_seg_and_nifti_agree_in_patient_space(write: Write, name: str) -> None:
    folder, case, _, written = write(name)
    image = nibabel.load(folder / "seg.nii.gz")
    voxels = np.asanyarray(image.dataobj)
    back = np.linalg.inv(image.affine) @ np.diag([-1, -1, 1, 1])  # LPS to indices
    seg = pydicom.dcmread(folder / "seg.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    r, c = np.reshape(
        np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float), (2, 3)
    )
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    seen = np.zeros_like(voxels)
    for item, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        i, j = np.nonzero(frame)
        points = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points = points + np.outer(j * between_columns, r) + np.outer(i * between_rows, c)
        index = np.column_stack([points, np.ones(len(points))]) @ back.T[:, :3]
        np.testing.assert_allclose(index, np.rint(index), atol=0.02)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        seen[tuple(np.rint(index).astype(int).T)] += number
    kept = [k for k in range(voxels.shape[2]) if k not in case.interpolated]
    np.testing.assert_array_equal(seen[:, :, kept], voxels[:, :, kept])
    assert not seen[:, :, list(case.interpolated)].any()
    assert written.seg_frames == seg.NumberOfFrames
    assert seen.any()


def test_everything_that_was_asked_for_is_there_and_listed(write: Write) -> None:
    chances = np.zeros((3, 38, 24, 3), np.float16).transpose(0, 2, 1, 3)
    folder, case, _, written = write("ct_prone_made", OUTPUTS, probabilities=chances)
    assert names(folder) == PICTURES | {
        *("seg.nii.gz", "seg.dcm", "segmap.dcm"),
        *("volumes.csv", "volumes.json", "probabilities.nii.gz"),
    }
    assert [each["file"] for each in written.outputs] == sorted(names(folder))
    for each in written.outputs:
        content = (folder / each["file"]).read_bytes()
        assert each["bytes"] == len(content)
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
    read = json.loads((folder / "volumes.json").read_text())
    assert (read["case_id"], read["fingerprint"]) == (case.case_id, MARK)
    assert [row["volume_ml"] for row in written.volumes] == [
        each["volume_ml"] for each in read["structures"]
    ]
    assert written.seconds > 0


@pytest.mark.parametrize(
    ("outputs", "files"),
    [
        (("nifti",), {"seg.nii.gz"}),
        (("segmap",), {"segmap.dcm"}),
        (("volumes",), {"volumes.csv", "volumes.json"}),
        (("preview",), PICTURES),
        (("probabilities",), set()),  # the network did not give any
    ],
)
def test_nothing_else_is_written(write: Write, outputs: tuple[str, ...], files: set[str]) -> None:
    folder, _, _, written = write("ct_prone_made", outputs)
    assert names(folder) == files
    assert len(written.volumes) == 2


def test_a_second_run_gives_the_same_bytes(write: Write) -> None:
    one = write("ct_prone_made", OUTPUTS, "one")[3]
    other = write("ct_prone_made", OUTPUTS, "other")[3]
    assert one.outputs == other.outputs
    assert len(one.outputs) == 7


def test_a_straightened_copy_stands_beside_a_tilted_one(write: Write) -> None:
    grid = Grid((6, 5, 4), np.diag([0.9, 0.9, 2.37, 1]))
    labels = np.ones((6, 5, 4), np.uint8)
    folder, _, _, _ = write("ct_tilt_philips", ("nifti",), orthogonal=(labels, grid))
    image = nibabel.load(folder / "seg_orthogonal.nii.gz")
    np.testing.assert_allclose(image.affine, grid.affine_ras, atol=1e-4)
    assert int(image.header["qform_code"]) == 1
    assert np.asanyarray(image.dataobj).all()


@pytest.mark.parametrize("name", ["ct_empty_uids_made", "ct_tilt_siemens"])
def test_a_case_without_seg_still_counts(write: Write, name: str) -> None:
    folder, _, _, written = write(name, ("nifti", "seg", "segmap", "volumes"))
    (finding,) = [each for each in written.findings if each.code == "W19"]
    assert "identifier" in finding.text
    assert written.seg_frames == 0
    assert names(folder) == {"seg.nii.gz", "volumes.csv", "volumes.json"}


def test_what_is_known_to_be_impossible_is_not_told_twice(
    write: Write, make_case: Callable[..., Case]
) -> None:
    case = replace(make_case("ct_tilt_siemens"), findings=(Finding("W19", {"why": "no frame"}),))
    folder, _, _, written = write(case)
    assert "W19" not in [each.code for each in written.findings]
    assert "seg.dcm" not in names(folder)


def test_an_empty_result_is_told_and_written(write: Write) -> None:
    folder, _, _, written = write("ct_prone_made", empty=True)
    assert [each.code for each in written.findings] == ["W17"]
    assert written.seg_frames == 2
    assert not np.asanyarray(nibabel.load(folder / "seg.nii.gz").dataobj).any()


def nifti_case() -> tuple[Case, np.ndarray]:
    grid = Grid((6, 5, 4), np.diag([-0.9, 0.9, 2.0, 1]))
    source = Source("nifti", "", Path("x.nii.gz"), "x.nii.gz", 1)
    case = Case("x.nii.gz", "x", "volume", (), "predict", (), source, grid)
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:4, 2:4, 1:3] = 1
    return case, labels


def test_a_nifti_source_gets_no_seg(write: Write) -> None:
    case, labels = nifti_case()
    folder, _, _, written = write(case, OUTPUTS, labels=labels, slice_labels=labels)
    assert names(folder) == PICTURES | {"seg.nii.gz", "volumes.csv", "volumes.json"}
    assert written.findings == ()


@pytest.mark.parametrize(
    ("outputs", "codes"),
    [
        (("seg",), ["W19"]),
        (("segmap", "volumes", "preview"), ["W19"]),
        (("seg", "nifti"), []),
        (("volumes",), []),
    ],
)
def test_a_nifti_source_without_any_segmentation_says_so(
    write: Write, outputs: tuple[str, ...], codes: list[str]
) -> None:
    case, labels = nifti_case()
    *_, written = write(case, outputs, labels=labels, slice_labels=labels)
    assert [each.code for each in written.findings] == codes
    assert [each.text for each in written.findings] == [
        "DICOM SEG not written: the source is no DICOM. Use seg.nii.gz, which --outputs nifti writes."
    ] * len(codes)


# What fails, and how it is told.


def test_a_full_disk_is_told_as_it_is(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "secret/seg.nii.gz")

    monkeypatch.setattr(module, "write_label_map", full)
    with pytest.raises(OSError, match="No space") as error:
        write("ct_prone_made")
    assert error.value.errno == errno.ENOSPC


def test_another_error_of_writing_fails_the_case_without_a_path(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "secret/seg.nii.gz")

    monkeypatch.setattr(module, "write_label_map", forbidden)
    with pytest.raises(CaseRefused, match="Permission denied") as refusal:
        write("ct_prone_made")
    assert refusal.value.finding.code == "E03"
    assert "secret" not in refusal.value.finding.text
    assert names(tmp_path / "case") == set()


def test_a_seg_that_is_not_what_was_meant_never_gets_its_name(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meant = module.write_seg

    def upside_down(path: Path, case: Case, labels: np.ndarray, *others: Any) -> int:
        return meant(path, case, labels[:, :, ::-1], *others)

    monkeypatch.setattr(module, "write_seg", upside_down)
    with pytest.raises(CaseRefused, match="E03"):
        write("ct_axial_noext", ("seg",))
    assert names(tmp_path / "case") == set()


def test_every_file_is_on_the_disk_before_it_gets_its_name(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medsemi.atomic

    flushed = []
    flush = medsemi.atomic.flush
    monkeypatch.setattr(
        medsemi.atomic, "flush", lambda path: (flushed.append(path.name), flush(path))[1]
    )
    folder, _, _, _ = write("ct_prone_made", OUTPUTS)
    for name in names(folder):
        assert [each for each in flushed if each.endswith(f".{name}")], name


# Nothing identifies anyone, except in the segmentation, whose purpose that is.

SECRETS = (b"ZZTOP", b"SECRET", b"424242", b"19500102", b"HIDDEN")


def test_nobody_is_named_but_in_the_seg(
    write: Write,
    edited: Callable[..., Path],
    make_model: Callable[..., Model],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def name_patient(image: pydicom.Dataset) -> None:
        image.PatientName = "ZZTOP^SECRET"
        image.PatientID = "424242"
        image.PatientBirthDate = "19500102"
        image.StudyDescription = image.SeriesDescription = "HIDDEN"

    caplog.set_level(logging.DEBUG)
    source = edited("ct_axial_ffs", name_patient, "ZZTOP_SECRET_424242")
    folder, case, segmentation, written = write(source, OUTPUTS)
    record = case_record(
        case,
        "done",
        written.findings,
        make_model(),
        Options(),
        volume=Volume(np.zeros(case.grid.shape, np.float32), "", (), "d" * 64),
        segmentation=segmentation,
        written=written,
        fingerprint=MARK,
    )
    write_record(folder, record)
    for path in folder.iterdir():
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        found = [secret for secret in SECRETS if secret in content]
        if path.suffix == ".dcm":
            assert {b"ZZTOP", b"SECRET", b"424242"} <= set(found)
        else:
            assert not found, path.name
    said = caplog.text + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret.decode() in said]
    assert not [each.uid for each in case.source.slices if each.uid in said]


def test_an_unusual_name_is_not_shouted(write: Write, edited: Callable[..., Path]) -> None:
    def name_patient(image: pydicom.Dataset) -> None:
        image.PatientName = "ZZTOP"  # highdicom warns about one word, and prints it

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        folder, _, _, _ = write(edited("ct_prone_made", name_patient), ("seg",))
    assert not [warning for warning in shown if "ZZTOP" in str(warning.message)]
    assert str(pydicom.dcmread(folder / "seg.dcm").PatientName) == "ZZTOP"


@pytest.mark.slow
def test_every_sample_that_can_be_predicted_can_be_written(
    shared: Path, write: Write, make_model: Callable[..., Model]
) -> None:
    """Cases as the program finds them; W19 is foretold exactly where no segmentation can be made."""
    model = replace(make_model(), modality=("any",))
    written, foretold = 0, 0
    for folder in sorted((shared / "data" / "dicom").glob("[cm][tr]_*")):
        scan = discover([folder], Options(series="all", gaps="fill"), model)
        for number, case in enumerate(each for each in scan.cases if each.outcome == "predict"):
            impossible = "W19" in case.codes
            unwarned = replace(case, findings=())  # so that writing has to find out by itself
            *_, result = write(unwarned, ("nifti", "seg", "segmap"), f"{folder.name}_{number}")
            assert ("W19" in [each.code for each in result.findings]) is impossible, folder.name
            assert bool(result.seg_frames) is not impossible
            written, foretold = written + 1, foretold + impossible
    assert (written, foretold) == (41, 14)
