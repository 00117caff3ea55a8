"""The converter on small made data sets of each layout, files read back."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medsemi.data.checks import check_training_data
from medsemi.data.dicom_series import write_dicom_series
from medsemi.data.manifest import load_manifest
from medsemi.data.writing import write_nifti

AFFINE = np.diag([0.25, 0.25, 0.25, 1.0])
Main = Callable[[list[str]], int]


@pytest.fixture(scope="module")
def main(repository: Path) -> Main:
    entry: Main = runpy.run_path(str(repository / "scripts" / "convert_cbct.py"))["main"]
    return entry


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.integers(-1000, 3095, (20, 18, 16)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[5:15, 4:14, 3:13] = 1
    label[8:11, 8 : 10 + seed % 3, 5:12] = 2
    return image, label


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_sts(main: Main, tmp_path: Path) -> None:
    source, output = tmp_path / "STSR", tmp_path / "out"
    for index in range(4):
        image, label = scan(index)
        name = f"STS25_Train_{'Labeled' if index < 3 else 'Unlabeled'}_{index:04d}"
        write_nifti(source / "Images" / f"{name}.nii.gz", image, AFFINE)
        if index == 2:
            label[label == 2] = 1
        if index < 3:
            write_nifti(source / "Masks" / f"{name}_Masks.nii.gz", label, AFFINE)
    assert main(["sts", str(source), str(output), "--labeled", "1", "--test", "1"]) == 0
    manifest = load_manifest(output / "manifest.json")
    check_training_data(manifest, output)
    counts = [len(manifest.cases(r)) for r in ("labeled", "unlabeled", "validation", "test")]
    assert counts == [1, 1, 0, 1]
    for index in range(2):
        name = f"STS25_Train_Labeled_{index:04d}.nii.gz"
        image, label = scan(index)
        written = nibabel.load(output / "images" / name)
        assert written.get_data_dtype() == np.int16
        np.testing.assert_allclose(written.affine, AFFINE)
        np.testing.assert_array_equal(np.asarray(written.dataobj), image)
        np.testing.assert_array_equal(read(output / "labels" / name), label == 2)
    told = json.loads((output / "conversion.json").read_text())
    assert told["skipped"] == ["STS25_Train_Labeled_0002"]
    counted = told["voxels"]["STS25_Train_Labeled_0000"]
    assert counted["before"]["2"] == counted["after"]["1"] == 3 * 2 * 7
    assert told["voxels"]["STS25_Train_Unlabeled_0003"] == {"before": {}, "after": {}}


def test_toothfairy_keeps_the_molars_of_a_patient_together(main: Main, tmp_path: Path) -> None:
    source, output = tmp_path / "ToothFairy3", tmp_path / "out"
    for index in range(3):
        image = np.random.default_rng(index).integers(-1000, 3095, (40, 24, 20)).astype(np.int16)
        label = np.zeros(image.shape, np.uint8)
        for tooth, x in ((36, 4), (46, 26)):
            label[x : x + 8, 8:16, 5:15] = tooth
            label[x + 3 : x + 5, 11:13, 6:14] = 100 + tooth
        if index == 2:
            label[label == 146] = 46
        # MetaImage, in ITK's axes: x to the left.
        for kind, name, array in (("imagesTr", "_0000", image), ("labelsTr", "", label)):
            stored = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
            stored.SetSpacing((0.3, 0.3, 0.3))
            stored.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
            (source / kind).mkdir(parents=True, exist_ok=True)
            SimpleITK.WriteImage(stored, str(source / kind / f"P_{index}{name}.mha"))
    command = ["toothfairy", str(source), str(output), "--labeled", "1", "--validation", "1"]
    assert main([*command, "--margin", "0.6"]) == 0
    manifest = load_manifest(output / "manifest.json")
    check_training_data(manifest, output)
    roles = {
        case.case_id: (role, case.patient)
        for role in ("labeled", "unlabeled", "validation", "test")
        for case in manifest.cases(role)
    }
    assert sorted(roles) == ["P_0_36", "P_0_46", "P_1_36", "P_1_46", "P_2_36"]
    for patient in ("P_0", "P_1"):
        assert roles[f"{patient}_36"] == roles[f"{patient}_46"]
        assert roles[f"{patient}_36"][1] == patient
    image = nibabel.load(output / "images" / "P_0_46.nii.gz")
    assert image.shape == (12, 12, 14)
    np.testing.assert_allclose(image.affine[:3, 3], (24 * 0.3, 6 * 0.3, 3 * 0.3), atol=1e-5)
    assert read(output / "labels" / "P_0_46.nii.gz").sum() == 2 * 2 * 8
    assert json.loads((output / "conversion.json").read_text())["skipped"] == ["P_2_46"]


def test_a_folder_of_dicom_and_nifti(main: Main, tmp_path: Path) -> None:
    source, output = tmp_path / "scans", tmp_path / "out"
    affine = AFFINE.copy()
    affine[:3, 3] = (3.0, -4.0, 5.0)
    image, label = scan(0)
    # The whole range of 12 bits, so that the series stores whole numbers with slope 1.
    image.flat[:2] = -1000, 3095
    write_dicom_series(source / "images" / "ann", image, affine, "ann", modality="CT")
    write_nifti(source / "images" / "bea.nii.gz", scan(1)[0], AFFINE)
    write_nifti(source / "masks" / "bea.nii.gz", (scan(1)[1] == 2).astype(np.uint8), AFFINE)
    write_nifti(source / "masks" / "ann.nii.gz", (label == 2).astype(np.uint8), affine)
    assert main(["folder", str(source), str(output), "--labeled", "1", "--test", "1"]) == 0
    manifest = load_manifest(output / "manifest.json")
    assert {c.case_id for role in ("labeled", "test") for c in manifest.cases(role)} == {
        "ann",
        "bea",
    }
    written = nibabel.load(output / "images" / "ann.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), image)
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(read(output / "labels" / "ann.nii.gz"), label == 2)


def test_doubt_is_refused_in_one_sentence(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, label = scan(0)
    for index in range(2):
        write_nifti(tmp_path / "images" / f"case_{index}.nii.gz", image, np.eye(4))
        write_nifti(tmp_path / "masks" / f"case_{index}.nii.gz", label, np.eye(4))
    command = ["folder", str(tmp_path), str(tmp_path / "out"), "--labeled", "1"]
    assert main(command) == 2
    assert "may be of one patient" in capsys.readouterr().err
    assert main([*command, "--one-case-per-patient"]) == 2
    assert "give --spacing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert main([*command, "--one-case-per-patient", "--spacing", "0.3"]) == 0
    assert nibabel.load(tmp_path / "out/images/case_0.nii.gz").header.get_zooms()[0] == (
        pytest.approx(0.3)
    )
    (tmp_path / "images" / "c").mkdir()
    (tmp_path / "images" / "c" / "note.dcm").write_text("nothing")
    assert main([*command, "--patient-regex", "(.+)", "--spacing", "0.3", "--overwrite"]) == 2
    assert "leave one complete series" in capsys.readouterr().err


def own_scans(folder: Path, masks: int, count: int = 3) -> Path:
    for index in range(count):
        image, label = scan(index)
        write_nifti(folder / "images" / f"own{index}x.nii.gz", image, AFFINE)
        if index < masks:
            write_nifti(folder / "masks" / f"own{index}x.nii.gz", label, AFFINE)
    return folder


@pytest.mark.parametrize(
    ("output", "counts", "told"),
    [
        ("scans", "--labeled 1", "would write over its source"),
        ("out", "--labeled 3", "scans: 3 patients with labels are asked for but there are 2"),
        ("out", "--labeled 0", "for 1 labeled or more"),
        ("out", "--labeled -1", "for 1 labeled or more"),
        ("out", "--labeled 1 --test -1", "give 0 or more of each"),
        ("known", "--labeled 1", "manifest.json: exists already"),
    ],
)
def test_what_would_be_lost_is_refused_before_anything_is_written(
    main: Main,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    counts: str,
    told: str,
) -> None:
    source = own_scans(tmp_path / "scans", masks=2)
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "manifest.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given = ["folder", str(source), str(tmp_path / output), "--one-case-per-patient"]
    assert main([*given, *counts.split()]) == 2
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_patient_with_a_scan_without_a_mask_cannot_be_labeled(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the split deals patients, which says so only after the conversion."""
    source = own_scans(tmp_path / "scans", masks=2)
    given = ["folder", str(source), str(tmp_path / "out"), "--patient-regex", "own"]
    assert main([*given, "--labeled", "1"]) == 2
    assert "1 patients with labels are asked for but there are 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
