"""Volumes to NIfTI files that are whole, lossless and read back before they get their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medsemi.atomic import write_atomically
from medsemi.errors import DataError


def write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a volume in its own type and compare the file with it bit for bit.

    Args:
        path: the file to make, ending in .nii or .nii.gz.
        array: float32, int16 or uint8, shape (x, y, z).
        affine: (4, 4), voxel to millimetres.

    Raises:
        DataError: what was read back differs; nothing stands under `path` then.
    """
    make: Any = nibabel.Nifti1Image  # nibabel types its readers, not this
    image = make(array, affine)
    image.header.set_xyzt_units("mm")
    with write_atomically(path) as temporary:
        nibabel.save(image, temporary)
        written: Any = nibabel.load(temporary)
        voxels = np.asarray(written.dataobj)
        same = voxels.dtype == array.dtype and np.array_equal(voxels, array, equal_nan=True)
        if not (same and np.allclose(written.affine, affine, rtol=1e-6, atol=1e-4)):
            raise DataError(f"{path}: the file read back differs from the data; check the disk.")
