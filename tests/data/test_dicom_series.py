"""A series that is written comes back with its values and its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from medsemi.data.dicom_series import write_dicom_series
from medsemi.data.phantoms import make_phantom
from medsemi.errors import DataError


def test_an_independent_reader_finds_values_and_place(tmp_path: Path) -> None:
    phantom = make_phantom(0, shape=(24, 20, 16), spacing=(1.5, 2.0, 3.0))
    affine = phantom.affine.copy()
    affine[:3, 3] = (10.0, -20.0, 30.0)
    files = write_dicom_series(tmp_path, phantom.image, affine, "one")
    assert len(files) == 16
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    image = reader.Execute()
    # ITK counts along (x, y, z) as we do, in patient coordinates with x and y turned.
    np.testing.assert_allclose(image.GetSpacing(), (1.5, 2.0, 3.0))
    np.testing.assert_allclose(image.GetOrigin(), (-10.0, 20.0, 30.0))
    np.testing.assert_allclose(image.GetDirection(), np.diag([-1, -1, 1]).ravel(), atol=1e-9)
    values = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    step = np.ptp(phantom.image) / 4095
    np.testing.assert_allclose(values, phantom.image, atol=0.51 * step)


def test_the_same_name_is_the_same_series(tmp_path: Path) -> None:
    values, affine = np.arange(64.0).reshape(4, 4, 4), np.eye(4)
    uids = set()
    for folder, name in (("a", "one"), ("b", "one"), ("c", "two")):
        first = write_dicom_series(tmp_path / folder, values, affine, name)[0]
        uids.add(pydicom.dcmread(first).SeriesInstanceUID)
    assert len(uids) == 2


def test_a_sheared_volume_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(DataError, match="right angles"):
        write_dicom_series(tmp_path, np.zeros((4, 4, 4)), affine, "one")
