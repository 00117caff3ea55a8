"""Layouts are found, teeth are cut out without loss, and doubtful headers are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medsemi.data.cbct import (
    ScanFiles,
    find_folder,
    find_sts,
    find_toothfairy,
    first_molars,
    read_scan,
    stored,
    voxel_counts,
    whole_scan,
)
from medsemi.data.reading import read_volume
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

AFFINE = np.diag([0.3, 0.3, 0.3, 1.0])
AFFINE[:3, 3] = (-5.0, 7.0, 11.0)
SCAN = ScanFiles("P1", Path("image.nii.gz"), Path("label.nii.gz"))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def jaws() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Teeth 16 and 36 with pulp, tooth 46 without, and both nerve canals; x runs to the right."""
    image = np.random.default_rng(0).integers(-1000, 3000, (60, 40, 30)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[40:48, 10:18, 16:28] = 16
    label[43:45, 13:15, 18:26] = 116
    label[10:18, 10:18, 4:14] = 36
    label[13:15, 13:15, 5:12] = 136
    label[40:48, 10:18, 4:14] = 46
    label[5:15, 30, 2] = 3
    label[45:55, 30, 2] = 4
    return image, label


def test_sts(tmp_path: Path) -> None:
    root = tmp_path / "STSR"
    names = ("STS25_Train_Labeled_0001", "STS25_Train_Unlabeled_0002", "STS25_Validation_0003")
    touch(*(root / "Images" / f"{name}.nii.gz" for name in names))
    touch(root / "Masks" / f"{names[0]}_Masks.nii.gz")
    found = find_sts(tmp_path)
    assert [scan.case_id for scan in found] == list(names)
    assert [scan.label is not None for scan in found] == [True, False, False]


def test_toothfairy(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr/ToothFairy3P_001_0000.nii.gz", tmp_path / "imagesTr/F_2_0000.mha")
    touch(tmp_path / "labelsTr/ToothFairy3P_001.nii.gz")
    assert [scan.case_id for scan in find_toothfairy(tmp_path)] == ["F_2", "ToothFairy3P_001"]


def test_plain_folder(tmp_path: Path) -> None:
    touch(tmp_path / "images/a.nii", tmp_path / "images/b/1.dcm", tmp_path / "masks/b.nrrd")
    one, other = find_folder(tmp_path)
    assert (one.image.name, one.label) == ("a.nii", None)
    assert (other.image.name, other.label.name) == ("b", "b.nrrd")


@pytest.mark.parametrize(
    ("find", "one", "other"),
    [
        (find_sts, "Labeled/Images/001.nii.gz", "Unlabeled/Images/001.nii.gz"),
        (find_sts, "A/Masks/001_Masks.nii.gz", "B/Masks/001_Mask.nii.gz"),
        (find_toothfairy, "a/imagesTr/001_0000.mha", "b/imagesTr/001_0000.nii.gz"),
        (find_toothfairy, "a/labelsTr/001.mha", "b/labelsTr/001.nii.gz"),
        (find_folder, "images/001.nii", "images/001.NII.GZ"),
        (find_folder, "images/001.nii", "images/001/1.dcm"),
    ],
)
def test_two_files_of_one_id_are_never_mixed_up(
    tmp_path: Path, find: object, one: str, other: str
) -> None:
    touch(tmp_path / one, tmp_path / other)
    with pytest.raises(DataError, match="the scan '001' has a second file") as refused:
        find(tmp_path)
    for name in (one, other.removesuffix("/1.dcm")):
        assert str(tmp_path / name) in str(refused.value)


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "Images/001.nii.gz", tmp_path / "Images/._001.nii.gz")
    touch(tmp_path / "Masks/001_Masks.nii.gz", tmp_path / "Masks/._001_Masks.nii.gz")
    assert [scan.case_id for scan in find_sts(tmp_path)] == ["001"]
    touch(tmp_path / "images/.git/1.dcm", tmp_path / "images/001.nii.gz")
    assert [scan.case_id for scan in find_folder(tmp_path)] == ["001"]


@pytest.mark.parametrize("find", [find_sts, find_toothfairy, find_folder])
def test_nothing_and_orphans(tmp_path: Path, find: object) -> None:
    with pytest.raises(DataError, match="check the path and the layout"):
        find(tmp_path)
    touch(*(tmp_path / name / "one.nii.gz" for name in ("Images", "imagesTr", "images")))
    for name in ("Masks", "labelsTr", "masks"):
        touch(tmp_path / name / "two.nii.gz")
    with pytest.raises(DataError, match="its image is missing"):
        find(tmp_path)


def test_molars_are_cut_out_with_their_place() -> None:
    image, label = jaws()
    cases = list(first_molars(SCAN, image, label, AFFINE, margin=1.2))
    assert [case.case_id for case in cases] == ["P1_16", "P1_36", "P1_46"]
    assert {case.scan for case in cases} == {"P1"}
    first = cases[0]
    # 4 voxels of margin; the upper end of the volume cuts it short.
    np.testing.assert_array_equal(first.image, image[36:52, 6:22, 12:30])
    np.testing.assert_array_equal(first.label, label[36:52, 6:22, 12:30] == 116)
    np.testing.assert_allclose(first.affine @ [0, 0, 0, 1], AFFINE @ [36, 6, 12, 1])
    assert first.before[116] == first.label.sum() == (label == 116).sum()
    assert sum(first.before.values()) == first.label.size
    assert not cases[2].label.any()


def test_swapped_sides_are_refused() -> None:
    image, label = jaws()
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    with pytest.raises(DataError, match="left nerve canal lies on the patient's right"):
        next(first_molars(SCAN, image, label, mirrored))
    without = np.where(label == 3, 0, label)
    assert len(list(first_molars(SCAN, image, without, mirrored))) == 3


def test_values_of_the_masks_become_the_class() -> None:
    image, label = jaws()
    (case,) = whole_scan(SCAN, image, label, AFFINE, [116, 136])
    assert case.label.dtype == np.uint8
    assert case.label.sum() == ((label == 116) | (label == 136)).sum()
    assert case.before == voxel_counts(label)
    (unlabeled,) = whole_scan(SCAN, image, None, AFFINE, [1])
    assert unlabeled.label is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([-1000, 3095], np.int32), np.int16),
        (np.array([-1000.0, 3095.0]), np.int16),
        (np.array([0, 40000], np.uint16), np.float32),
        (np.array([0.25, 1.0]), np.float32),
        (np.array([0.0, 1e6]), np.float32),
    ],
)
def test_images_are_stored_without_loss(values: np.ndarray, kind: type) -> None:
    kept = stored(values, Path("a.nii.gz"))
    assert kept.dtype == kind
    np.testing.assert_array_equal(kept, values)


def test_values_that_are_not_finite() -> None:
    with pytest.raises(DataError, match=r"a.nii.gz: has NaN"):
        stored(np.array([0.0, np.nan]), Path("a.nii.gz"))


def pair(folder: Path, affine: np.ndarray, label_affine: np.ndarray | None = None) -> ScanFiles:
    image, label = jaws()
    files = ScanFiles("P", folder / "image.nii.gz", folder / "label.nii.gz")
    write_nifti(files.image, image, affine)
    write_nifti(files.label, label, affine if label_affine is None else label_affine)
    return files


def test_a_lost_spacing_is_refused_unless_it_is_given(tmp_path: Path) -> None:
    lost = pair(tmp_path, np.eye(4))
    with pytest.raises(DataError, match=r"not that of a dental scan.*give --spacing"):
        read_scan(lost, read_volume, None)
    _, _, affine = read_scan(lost, read_volume, 0.3)
    np.testing.assert_allclose(affine, np.diag([0.3, 0.3, 0.3, 1]))
    with pytest.raises(DataError, match="not that of a dental scan"):
        read_scan(lost, read_volume, 3.0)


@pytest.mark.parametrize(
    ("edge", "plausible"), [(0.051, True), (0.049, False), (0.69, True), (0.71, False)]
)
def test_dental_scans_have_voxels_of_a_twentieth_to_seven_tenths_of_a_mm(
    edge: float, plausible: bool
) -> None:
    affine = np.diag([edge, edge, edge, 1.0])

    def read(_: Path) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((2, 2, 2)), affine

    scan = ScanFiles("P", Path("image.nii.gz"), None)
    if plausible:
        np.testing.assert_array_equal(read_scan(scan, read, None)[2], affine)
    else:
        with pytest.raises(DataError, match="not that of a dental scan"):
            read_scan(scan, read, None)


def test_a_known_spacing_is_not_overruled(tmp_path: Path) -> None:
    good = pair(tmp_path, AFFINE)
    image, label, affine = read_scan(good, read_volume, None)
    np.testing.assert_array_equal(image, jaws()[0])
    np.testing.assert_array_equal(label, jaws()[1])
    np.testing.assert_allclose(affine, AFFINE, atol=1e-6)
    with pytest.raises(DataError, match="omit --spacing"):
        read_scan(good, read_volume, 0.4)


def test_image_and_masks_on_two_grids(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 1
    with pytest.raises(DataError, match="bring both to one grid"):
        read_scan(pair(tmp_path, AFFINE, moved), read_volume, None)


def test_masks_are_whole_numbers(tmp_path: Path) -> None:
    files = pair(tmp_path, AFFINE)
    write_nifti(files.label, (jaws()[1] / 2).astype(np.float32) + 0.25, AFFINE)
    with pytest.raises(DataError, match="whole numbers"):
        read_scan(files, read_volume, None)
