"""One volume in every format is one array and one affine."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medsemi.data.reading import read_volume
from medsemi.errors import DataError


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_formats_equal_nifti(tmp_path: Path, suffix: str) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    angle = 0.3
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.5, 0.7, 2.0]
    affine[:3, 3] = [10, -20, 30]
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")), str(path))
    for name in ("a.nii.gz", path.name):
        voxels, found = read_volume(tmp_path / name)
        np.testing.assert_array_equal(voxels, array)
        np.testing.assert_allclose(found, affine, atol=1e-4)


def test_channels_come_last(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 3, 2, 5), np.float32), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd")[0].shape == (2, 3, 4, 5)


def test_the_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, -1)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii")[0].max() == 2.5


@pytest.mark.parametrize("kind", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, kind: object) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), kind), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii: color or complex values; keep one number"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.txt", "unknown kind"),
        ("a.nii", "cannot be read"),
        ("a.nii.gz", "cannot be read"),
        ("a.nrrd", "cannot be read"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no volume")
    with pytest.raises(DataError, match=words) as refused:
        read_volume(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
