"""The cardiac scans of ACDC: from the field's HDF5 files to NIfTI.

The field exchanges training patients as single slices (`patient041_frame01_slice_6.h5`) and the others
as volumes (`patient078_frame01.h5`). Slices are stacked in the order of their numbers: sorted as text,
slice 10 would follow slice 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.data.reducing import reduce_image, reduce_label, reduced_plane
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

_NAME = re.compile(r"(?P<case>patient\d{3}_frame\d{2})(?:_slice_(?P<number>\d+))?\.h5")
_CLASSES = {0, 1, 2, 3}


def find_scans(folder: Path) -> dict[str, list[Path]]:
    """Find the volumes below a folder: one file each, or slices in the order of their numbers.

    Args:
        folder: holds patientXXX_frameYY.h5 or patientXXX_frameYY_slice_N.h5, at any depth.

    Returns:
        The files of each volume, sorted by its name.

    Raises:
        DataError: there is none, a slice is missing or there twice, or a volume is there in both forms.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.rglob("*.h5")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        files, number = found.setdefault(match["case"], {}), int(match["number"] or 0)
        if number in files:
            raise DataError(f"{path}: also occurs as {files[number]}; keep one of them.")
        files[number] = path
    if not found:
        raise DataError(f"{folder}: no patientXXX_frameYY*.h5 below it; check the path.")
    return {case: _ordered(case, files) for case, files in sorted(found.items())}


def _ordered(case: str, files: dict[int, Path]) -> list[Path]:
    numbers = sorted(files)
    if numbers == [0]:
        return [files[0]]
    if numbers[0] == 0:
        raise DataError(f"{files[0]}: {case} also occurs as slices; keep the volume or the slices.")
    missing = set(range(1, numbers[-1] + 1)) - set(numbers)
    if missing:
        raise DataError(f"{case}: slice {min(missing)} is missing; copy all slices of the volume.")
    return [files[number] for number in numbers]


def read_scan(paths: Sequence[Path]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read one volume as it is; no slice is rescaled.

    Args:
        paths: one file with axes (slice, y, x), or slices (y, x) in order.

    Returns:
        Image and label, shape (slice, y, x); 1 right ventricle, 2 myocardium, 3 left ventricle.

    Raises:
        DataError: a file is damaged or holds something else.
    """
    parts = [_read(path) for path in paths]
    for path, (image, label) in zip(paths, parts, strict=True):
        axes = 3 if len(paths) == 1 and "_slice_" not in path.name else 2
        if image.ndim != axes or image.shape != label.shape or image.dtype != np.float32:
            raise DataError(
                f"{path}: image {image.shape} {image.dtype} and label {label.shape} are not float32"
                f" values on {axes} axes with their label; download it again."
            )
        if image.shape != parts[0][0].shape:
            raise DataError(f"{path}: has another shape than {paths[0].name}; download both again.")
        if wrong := sorted(set(np.unique(label).tolist()) - _CLASSES):
            raise DataError(f"{path}: the label has the value {wrong[0]:g}; expected are 0 to 3.")
    image, label = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    if image.ndim == 4:
        image, label = image[0], label[0]
    return image, label.astype(np.uint8)


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    import h5py  # noqa: PLC0415 - needed by converters, not by training

    try:
        with h5py.File(path) as file:
            return np.asarray(file["image"]), np.asarray(file["label"])
    except (OSError, KeyError) as error:
        raise DataError(
            f"{path}: no HDF5 file with the datasets image and label; download it again."
        ) from error


def convert_scan(
    paths: Sequence[Path],
    case_id: str,
    folder: Path,
    spacing: tuple[float, float],
    longest_side: int | None = None,
) -> tuple[int, ...]:
    """Convert one volume to images/<id>.nii.gz and labels/<id>.nii.gz, read back and compared.

    Args:
        paths: as `find_scans` returns them.
        case_id: names the files.
        folder: where images/ and labels/ are.
        spacing: edge of a written pixel and distance of slices in mm, by assumption: the files hold none.
        longest_side: slices with a longer one are reduced to so many pixels; None leaves all as they are.

    Returns:
        Shape (x, y, slice) of what was written. Origin and orientation were lost by the publishers; the
        affine is that of an identity direction in DICOM coordinates.

    Raises:
        DataError: the source cannot be used, or the written file differs from it.
    """
    image, label = read_scan(paths)
    if longest_side is not None:
        plane = reduced_plane((image.shape[1], image.shape[2]), longest_side)
        image, label = reduce_image(image, plane), reduce_label(label, plane)
    affine = np.diag([-spacing[0], -spacing[0], spacing[1], 1.0])
    write_nifti(folder / "images" / f"{case_id}.nii.gz", np.ascontiguousarray(image.T), affine)
    write_nifti(folder / "labels" / f"{case_id}.nii.gz", np.ascontiguousarray(label.T), affine)
    return image.T.shape
