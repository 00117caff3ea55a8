"""Volumes from files, without MONAI: a check or a converter must not wait ten seconds to start."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medsemi.errors import DataError

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = (*NIFTI, *ITK)
# The squares of a volume of larger numbers have no sum in float32, and no intensity is that large.
LARGEST = 1e15


def volume_stem(name: str) -> str | None:
    """The name of a volume's file without its suffix.

    Args:
        name: of a file, without folders; the suffix may be written in capitals.

    Returns:
        What stands before the suffix; None for another kind of file and for a hidden one, such as
        `._001.nii.gz`, which macOS leaves beside a copy.
    """
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), None)
    return None if suffix is None or name.startswith(".") else name[: -len(suffix)]


def read_volume(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Decode one volume with the intensity scaling of its header applied.

    Args:
        path: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd).

    Returns:
        The voxels, shape (x, y, z) or (x, y, z, channels), in the stored or scaled type; and the
        affine (4, 4) from voxel indices to millimetres in NIfTI's (RAS) axes.

    Raises:
        DataError: the file is of another kind or damaged, or its voxels are no numbers.
    """
    name = path.name.lower()
    reader = _read_nifti if name.endswith(NIFTI) else _read_itk if name.endswith(ITK) else None
    if reader is None:
        kinds = ", ".join(SUFFIXES)
        raise DataError(f"{path}: unknown kind of volume; convert it to one of {kinds}.")
    try:
        array, affine = reader(path)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        # nibabel's own ImageFileError inherits from Exception alone.
        if type(error).__module__.startswith("nibabel"):
            raise _unreadable(path, error) from error
        raise
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: color or complex values; keep one number per voxel, alone.")
    return array, affine


def is_finite(array: NDArray[Any]) -> bool:
    """Whether mean and deviation over all values can be taken: no NaN, infinity or huge fill value."""
    if array.dtype.kind in "biu":
        return True
    # A comparison with NaN is false.
    return bool(array.min(initial=0) > -LARGEST and array.max(initial=0) < LARGEST)


def refuse_not_finite(finite: bool, path: Path) -> None:
    """Refuse a volume by what `is_finite` says of it.

    Args:
        finite: of its voxels.
        path: of its file.

    Raises:
        DataError: it has NaN, infinity or huge fill values.
    """
    if not finite:
        raise DataError(
            f"{path}: the volume has NaN or infinite voxels, or fill values beyond {LARGEST:g} such as"
            " -3.4e38; replace them or remove the case."
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: does not exist; check dataset_dir and the manifest.")
    told = "it is a folder" if path.is_dir() else " ".join(str(error).split())[:120]
    reason = told or type(error).__name__
    return DataError(f"{path}: cannot be read as a volume ({reason}); replace the file.")


def _read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)


def _read_itk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    import SimpleITK  # noqa: PLC0415 - slow to load, and only these formats need it

    image: Any = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    axes = image.GetDimension()
    channels = array.ndim - axes
    array = array.transpose(*reversed(range(axes)), *range(axes, axes + channels))
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(axes, axes)
    affine[:axes, :axes] = direction * np.asarray(image.GetSpacing())
    affine[:axes, 3] = image.GetOrigin()
    # ITK's axes point left and to the back, NIfTI's right and to the front.
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
