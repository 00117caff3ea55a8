"""What is written is what was given, or nothing is written."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

ARRAY = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)


def test_lossless_with_affine_and_reproducible_bytes(tmp_path: Path) -> None:
    affine = np.diag([0.625, 0.625, 0.625, 1.0])
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, ARRAY, affine)
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), ARRAY)
    np.testing.assert_array_equal(image.affine, affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_file_that_differs_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = nibabel.save

    def spoil(image: nibabel.Nifti1Image, path: Path) -> None:
        save(nibabel.Nifti1Image(ARRAY + 1, image.affine), path)

    monkeypatch.setattr(nibabel, "save", spoil)
    with pytest.raises(DataError, match=r"a\.nii: the file read back differs"):
        write_nifti(tmp_path / "a.nii", ARRAY, np.eye(4))
    assert list(tmp_path.iterdir()) == []
