"""Cardiac HDF5 files to NIfTI, against recorded hashes of the volumes and the set of the tables."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import h5py
import nibabel
import numpy as np
import pytest

from medsemi.data.cardiac import find_scans, read_scan
from medsemi.errors import DataError


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    path = repository / "scripts" / "convert_cardiac.py"
    specification = importlib.util.spec_from_file_location("convert_cardiac", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(shared: Path) -> Path:
    return shared / "data" / "acdc_h5"


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def test_the_written_volumes_are_the_expected_ones(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((source / "expected.json").read_text())
    assert script.main([str(source), str(tmp_path), "--spacing", "1.5", "8"]) == 0
    assert f"{len(expected)} volumes written" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert written == [f"{case}.nii.gz" for case in sorted(expected)]
    for case, facts in expected.items():
        image = nibabel.load(tmp_path / "images" / f"{case}.nii.gz")
        label = nibabel.load(tmp_path / "labels" / f"{case}.nii.gz")
        values, classes = np.asarray(image.dataobj).T, np.asarray(label.dataobj).T
        assert list(values.shape) == facts["shape_zyx"]
        assert (str(values.dtype), str(classes.dtype)) == ("float32", "uint8")
        assert sha256(values) == facts["sha256_image_c_order"]
        assert sha256(classes) == facts["sha256_label_c_order"]
        assert (classes == 3).sum((1, 2)).tolist() == facts["per_slice_lv"]
        assert (values.min(), values.max()) == (0, 1)
        np.testing.assert_allclose(image.affine, np.diag([-1.5, -1.5, 8, 1]))
        np.testing.assert_allclose(label.affine, image.affine)


def test_slices_follow_their_numbers(source: Path) -> None:
    paths = find_scans(source)["patient094_frame01"]
    assert [path.stem.rpartition("_")[2] for path in paths] == [str(n) for n in range(1, 11)]
    facts = json.loads((source / "expected.json").read_text())["patient094_frame01"]
    _, label = read_scan(sorted(paths))  # as text
    assert (label == 3).sum((1, 2)).tolist() == facts["per_slice_lv_if_sorted_as_text"]


def copied(source: Path, folder: Path) -> Path:
    for path in source.rglob("patient041_frame01_slice_*.h5"):
        shutil.copy(path, folder)
    return folder


def test_a_missing_slice_is_named(source: Path, tmp_path: Path) -> None:
    (copied(source, tmp_path) / "patient041_frame01_slice_3.h5").unlink()
    with pytest.raises(DataError, match="patient041_frame01: slice 3 is missing"):
        find_scans(tmp_path)


def test_a_volume_in_two_forms_is_refused(source: Path, tmp_path: Path) -> None:
    shutil.copy(next(source.rglob("patient078_frame01.h5")), tmp_path / "patient041_frame01.h5")
    with pytest.raises(DataError, match="also occurs as slices"):
        find_scans(copied(source, tmp_path))
    (tmp_path / "below").mkdir()
    shutil.copy(tmp_path / "patient041_frame01_slice_2.h5", tmp_path / "below")
    with pytest.raises(DataError, match="keep one of them"):
        find_scans(tmp_path)


def test_files_of_another_kind_are_refused(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(tmp_path / "no"), str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert script.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "check the path" in capsys.readouterr().err
    (copied(source, tmp_path) / "patient041_frame01_slice_2.h5").write_bytes(b"not HDF5")
    assert script.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "patient041_frame01_slice_2.h5: no HDF5 file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def scan_file(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A volume (slice, y, x) of one gray with a ventricle of a quarter of each side."""
    label = np.zeros(shape, np.uint8)
    label[:, : shape[1] // 4, : shape[2] // 4] = 3
    folder.mkdir()
    with h5py.File(folder / "patient001_frame01.h5", "w") as file:
        file["image"], file["label"] = np.full(shape, 0.25, np.float32), label
    return folder


def test_slices_are_reduced_and_the_spacing_is_that_of_the_result(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scan_file(tmp_path / "source", (2, 24, 48))
    options = ["--longest-side", "16", "--spacing", "2.8", "10"]
    assert script.main([str(source), str(tmp_path), *options]) == 0
    assert "patient001_frame01: 16 x 8 x 2 from one file" in capsys.readouterr().out
    image = nibabel.load(tmp_path / "images" / "patient001_frame01.nii.gz")
    label = nibabel.load(tmp_path / "labels" / "patient001_frame01.nii.gz")
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.float32, np.uint8)
    np.testing.assert_allclose(image.get_fdata(), 0.25)
    classes = np.zeros((16, 8, 2))
    classes[:4, :2] = 3
    np.testing.assert_array_equal(label.get_fdata(), classes)
    for written in (image, label):
        np.testing.assert_allclose(written.affine, np.diag([-2.8, -2.8, 10, 1]))


@pytest.mark.parametrize("pixels", ["0", "-128"])
def test_a_longest_side_that_no_slice_has_is_refused(
    script: ModuleType, pixels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scan_file(tmp_path / "source", (2, 24, 48))
    assert script.main([str(source), str(tmp_path / "out"), "--longest-side", pixels]) == 2
    assert capsys.readouterr().err == (
        "--longest-side: give a number of pixels above 0, such as 128.\n"
    )
    assert not (tmp_path / "out").exists()


def test_reduced_slices_are_those_of_the_tables(
    script: ModuleType, shared: Path, source: Path, tmp_path: Path
) -> None:
    options = ["--longest-side", "128", "--spacing", "2.8", "10"]
    assert script.main([str(source), str(tmp_path), *options]) == 0
    for case in json.loads((source / "expected.json").read_text()):
        image, label, table_image, table_label = (
            nibabel.load(folder / kind / f"{case}.nii.gz")
            for folder in (tmp_path, shared / "data" / "acdc_mini")
            for kind in ("images", "labels")
        )
        np.testing.assert_array_equal(label.dataobj, table_label.dataobj)
        # The set of the tables holds whole thousandths; float32 adds 3e-5 of one.
        np.testing.assert_allclose(1000 * image.get_fdata(), table_image.dataobj, 0, 0.5001)
        np.testing.assert_array_equal(image.affine, table_image.affine)
