"""Label maps and probabilities as NIfTI on exactly the grid of a case, read back before they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from medsemi.prediction.case import Grid
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.geometry import NEARLY_ORTHOGONAL_DEGREES

SCANNER = 1  # code of sform and qform: the coordinates of the scanner
GZIP_LEVEL = 1  # of ISA-L; higher ones are slower and hardly smaller on label maps


def write_label_map(
    path: Path, labels: NDArray[np.unsignedinteger[Any]], grid: Grid, count: int
) -> None:
    """Write labels as `.nii.gz` and read them back.

    The affine is in sform and qform; a rotation cannot hold that of a sheared grid, whose qform is
    therefore marked as unknown. Equal labels give equal files.

    Args:
        path: the file to write.
        labels: shape `grid.shape`, 0 is background.
        grid: where they lie.
        count: number of labels that there may be; above 255 the file holds 16 bits per voxel.

    Raises:
        CaseRefused: E03 if what is read back is not what was written.
        OSError: if the file cannot be written.
    """
    stored = labels.astype(np.uint8 if count <= 255 else np.uint16, copy=False)
    image = nibabel.Nifti1Image(stored, grid.affine_ras)
    image.header.set_intent("label")
    _write(path, image, grid)
    _check(path, stored, grid)


def write_probabilities(path: Path, probabilities: NDArray[np.float16], grid: Grid) -> None:
    """Write one volume per class, background first, as float32 and read them back.

    NIfTI knows no float16; voxels are widened while they are written, without a copy of them all.

    Args:
        path: the file to write.
        probabilities: shape (labels + background, *grid.shape), 0 to 1.
        grid: where they lie.

    Raises:
        CaseRefused: E03 if what is read back is not what was written.
        OSError: if the file cannot be written.
    """
    last = np.moveaxis(probabilities, 0, -1)
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    image = nibabel.Nifti1Image(last, grid.affine_ras, header)
    _write(path, image, grid)
    _check(path, last, grid)


def _write(path: Path, image: nibabel.Nifti1Image, grid: Grid) -> None:
    image.set_sform(grid.affine_ras, code=SCANNER)
    if grid.shear_degrees <= NEARLY_ORTHOGONAL_DEGREES:
        image.set_qform(grid.affine_ras, code=SCANNER)
    image.header.set_xyzt_units("mm", "sec")
    with (
        path.open("wb") as raw,
        igzip.IGzipFile("", "wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0) as file,
    ):
        image.to_stream(file)


def _check(path: Path, written: NDArray[Any], grid: Grid) -> None:
    # Kept open, a compressed file is read on from slice to slice, not from its start for each.
    image: Any = nibabel.load(path, keep_file_open=True)
    if image.shape != written.shape:
        raise _differs("shape")
    # float32 holds an affine to 1 part in 10 million: 0.0002 mm at 2 m from the origin.
    if not np.allclose(image.affine, grid.affine_ras, rtol=1.2e-7, atol=1e-4):
        raise _differs("affine")
    # One slice, or the probabilities of one class, at a time: all of them may not fit into memory.
    for index in range(written.shape[-1]):
        voxels = image.dataobj[..., index]
        if voxels.dtype.kind != written.dtype.kind:
            raise _differs("type of voxels")
        if not np.array_equal(voxels, written[..., index]):
            raise _differs("voxels")


def _differs(what: str) -> CaseRefused:
    return CaseRefused("E03", why=f"the {what} read back from NIfTI differ from what was written")
