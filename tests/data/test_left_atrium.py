"""The converter against real scans, and the published preparation on small made ones."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK

from medsemi.data.left_atrium import (
    Scan,
    convert_scan,
    crop_range,
    find_scans,
    halve,
    read_h5,
    read_original,
)
from medsemi.errors import DataError

REAL = ("8M99G0JLAXG9GLPV0O8G", "DQ5UYBGR5QP6L692QSG6")


@pytest.mark.parametrize("case_id", REAL)
def test_real_scans_are_converted_without_loss(shared: Path, tmp_path: Path, case_id: str) -> None:
    source = shared / "data" / "la_h5" / case_id / "mri_norm2.h5"
    convert_scan(source, case_id, tmp_path, 0.625, 0, half=False)
    with h5py.File(source) as file:
        for kind, name in (("images", "image"), ("labels", "label")):
            written = nibabel.load(tmp_path / kind / f"{case_id}.nii.gz")
            voxels = np.asarray(written.dataobj)
            assert voxels.dtype == file[name].dtype
            np.testing.assert_array_equal(voxels, file[name])
            np.testing.assert_array_equal(written.affine, np.diag([0.625, 0.625, 0.625, 1]))


@pytest.mark.parametrize("case_id", REAL)
def test_half_resolution_is_that_of_the_small_copy(
    shared: Path, tmp_path: Path, case_id: str
) -> None:
    source = shared / "data" / "la_h5" / case_id / "mri_norm2.h5"
    convert_scan(source, case_id, tmp_path, 0.625, 0, half=True)
    pairs = {}
    for kind in ("images", "labels"):
        name = f"{kind}/{case_id}.nii.gz"
        ours, theirs = nibabel.load(tmp_path / name), nibabel.load(shared / "data/la_mini" / name)
        np.testing.assert_allclose(ours.affine, theirs.affine)
        pairs[kind] = ours.get_fdata(), theirs.get_fdata()
    image, expected = pairs["images"]
    assert np.abs(image - expected).max() < 1e-6 * expected.std()
    np.testing.assert_array_equal(*pairs["labels"])


def test_halving_means_majority_ties_odd_edges_and_centers() -> None:
    image = np.arange(5 * 2 * 4, dtype=np.float32).reshape(5, 2, 4)
    label = np.zeros((5, 2, 4), np.uint8)
    label[:2, :, 0] = 1
    label[2:4, :, :2] = 1
    label[2, 0, 0] = 0
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    scan = halve(Scan(image, label, affine))
    assert scan.image.shape == (2, 1, 2)
    assert scan.image[0, 0, 0] == image[:2, :2, :2].mean()
    np.testing.assert_array_equal(scan.label[:, 0, 0], [0, 1])
    np.testing.assert_array_equal(scan.affine @ [0, 0, 0, 1], [0.5, 0.5, 1.0, 1])
    assert scan.affine[2, 2] == 4


def write_pair(folder: Path, image: np.ndarray, label: np.ndarray, spacing: float = 0.625) -> Path:
    folder.mkdir(parents=True)
    for name, array in (("lgemri.nrrd", image), ("laendo.nrrd", label)):
        volume = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
        volume.SetSpacing((spacing,) * 3)
        volume.SetOrigin((-10.0, -20.0, 30.0))
        SimpleITK.WriteImage(volume, str(folder / name))
    return folder / "lgemri.nrrd"


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (200, 180, 12)).astype(np.uint8)
    label = np.zeros(image.shape, np.uint8)
    label[80:100, 30:50, 3:9] = 255
    return image, label


def test_the_published_preparation(tmp_path: Path, volumes: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = volumes
    scan = read_original(write_pair(tmp_path / "A", image, label), seed=0)
    # Label 80..99: widened by (112 - 19) // 2 = 46 on both sides, then 10 to 19 more.
    start = np.linalg.inv(np.diag([-0.625, -0.625, 0.625, 1])) @ (
        scan.affine[:, 3] - [10, 20, 30, 0]
    )
    x, y, z = np.round(start[:3]).astype(int)
    assert 80 - 46 - 19 <= x <= 80 - 46 - 10
    assert 99 + 46 + 10 <= x + scan.image.shape[0] <= 99 + 46 + 19
    # In y the volume ends before the margin does; z is not cropped.
    assert (y, z, scan.image.shape[2]) == (0, 0, 12)
    expected = (image - image.mean()) / image.std()
    width, height, _ = scan.image.shape
    cropped = slice(x, x + width), slice(0, height)
    np.testing.assert_allclose(scan.image, expected[cropped], atol=1e-5)
    np.testing.assert_array_equal(scan.label, label[cropped] == 255)
    assert scan.image.dtype == np.float32
    assert scan.label.sum() == (label == 255).sum()


def test_margins_depend_on_seed_and_id_alone(
    tmp_path: Path, volumes: tuple[np.ndarray, np.ndarray]
) -> None:
    path = write_pair(tmp_path / "A", *volumes)
    other = write_pair(tmp_path / "B", *volumes)
    first = read_original(path, 0)
    np.testing.assert_array_equal(first.image, read_original(path, 0).image)
    other_affines = [read_original(other, 0).affine, read_original(path, 1).affine]
    assert all(not np.array_equal(first.affine, affine) for affine in other_affines)


def test_margins_are_ten_to_nineteen_and_reach_both() -> None:
    occupied = np.zeros(400, bool)
    occupied[100:300] = True
    generator = np.random.default_rng(0)
    ranges = [crop_range(occupied, generator) for _ in range(400)]
    assert {100 - start for start, _ in ranges} == set(range(10, 20))
    assert {stop - 299 for _, stop in ranges} == set(range(10, 20))


def test_doubtful_originals(tmp_path: Path, volumes: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = volumes
    empty = write_pair(tmp_path / "A", image, label * 0)
    with pytest.raises(DataError, match=r"laendo\.nrrd: no voxel has the value 255"):
        read_original(empty, 0)
    ones = write_pair(tmp_path / "B", image, label // 255)
    with pytest.raises(DataError, match="the value 1, expected are"):
        read_original(ones, 0)
    other = write_pair(tmp_path / "C", image, label[1:])
    with pytest.raises(DataError, match="shape"):
        read_original(other, 0)
    moved = write_pair(tmp_path / "E", image, label)
    atrium = SimpleITK.ReadImage(moved.with_name("laendo.nrrd"))
    atrium.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(atrium, moved.with_name("laendo.nrrd"))
    with pytest.raises(DataError, match="spacing, direction or origin differ"):
        read_original(moved, 0)
    constant = write_pair(tmp_path / "D", image * 0, label)
    with pytest.raises(DataError, match="constant"):
        read_original(constant, 0)
    (tmp_path / "D" / "laendo.nrrd").unlink()
    with pytest.raises(DataError, match="is missing"):
        read_original(constant, 0)


def test_doubtful_h5(tmp_path: Path) -> None:
    path = tmp_path / "mri_norm2.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no HDF5 file"):
        read_h5(path, 0.625)
    for shape, value, words in (((2, 2, 2), 3, "the value 3"), ((2, 2, 1), 1, "not a float32")):
        with h5py.File(path, "w") as file:
            file["image"] = np.zeros((2, 2, 2), np.float32)
            file["label"] = np.full(shape, value, np.uint8)
        with pytest.raises(DataError, match=words):
            read_h5(path, 0.625)


def test_finding_scans(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="check the path"):
        find_scans(tmp_path)
    for name in ("set/B/mri_norm2.h5", "set/A/mri_norm2.h5", "twice/A/mri_norm2.h5"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert list(find_scans(tmp_path / "set")) == ["A", "B"]
    with pytest.raises(DataError, match="also occurs"):
        find_scans(tmp_path)
    (tmp_path / "set" / "A" / "lgemri.nrrd").touch()
    with pytest.raises(DataError, match="holds both"):
        find_scans(tmp_path / "set")
