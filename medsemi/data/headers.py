"""Files that training would take otherwise than checks and prediction do, or not at all.

Training reads with MONAI's `LoadImage`, which has nibabel alone; everything else reads with
`medsemi.data.reading` or `medsemi.prediction`. Where they disagree, a file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medsemi.data.reading import ITK, read_volume
from medsemi.errors import DataError

# Shape in voxels, and the affine from voxels to mm.
Grid = tuple[Sequence[int], NDArray[np.float64]]

# Two headers describe one grid when no corner of the volume moves by more than this part of a
# voxel: quaternions and decimal text round the same affine differently.
CORNER_TOLERANCE = 0.05
# Of unit vectors along the axes of a volume; less is rounding.
_LEAST_DETERMINANT = 1e-6
# Units of length that prediction brings to mm; training and checks take all numbers as mm.
_OTHER_UNITS = {1: "meters", 3: "micrometers"}


def refuse_other_kinds(path: Path) -> None:
    """Refuse a file that training cannot read, by its name alone.

    Raises:
        DataError: it is NRRD or MetaImage.
    """
    if path.name.lower().endswith(ITK):
        line = f"import SimpleITK as s; s.WriteImage(s.ReadImage('a{path.suffix}'), 'a.nii.gz')"
        raise DataError(
            f"{path}: training reads NIfTI alone, while medsemi predict reads this as it is; convert"
            f' images and labels with python -c "{line}".'
        )


def without_channel(array: NDArray[Any]) -> NDArray[Any]:
    """A volume (x, y, z, 1) as (x, y, z), which training takes alike; all others as they are."""
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array


def read_unambiguous(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Decode a volume that training takes as everything else does.

    Args:
        path: of a NIfTI file.

    Returns:
        The voxels, shape (x, y, z), (x, y, z, channels) or as the file has it; and the affine (4, 4).

    Raises:
        DataError: as `read_volume` and `refuse_ambiguous_header`.
    """
    array, affine = read_volume(path)
    refuse_ambiguous_header(path)
    return without_channel(array), affine


def refuse_other_grid(image: Grid, label: Grid, path: Path, label_path: Path) -> None:
    """Refuse a label that is not on the grid of its image.

    Args:
        image: shape of the array, see `without_channel`, and affine.
        label: likewise.
        path: of the image, for the message.
        label_path: of the label, for the message.

    Raises:
        DataError: the shapes differ, or the affines by more than headers round.
    """
    (shape, affine), (label_shape, label_affine) = image, label
    if tuple(shape) != tuple(label_shape):
        raise DataError(
            f"{label_path}: the label has shape {tuple(label_shape)} but its image {path} has"
            f" {tuple(shape)}; resample one to the grid of the other."
        )
    if not is_same_grid(shape, affine, label_affine):
        shift = largest_corner_shift(shape, affine, label_affine)
        raise DataError(
            f"{label_path}: the affine differs from that of its image {path} (a corner of the volume"
            f" is {shift:.3g} mm away); correct the header or resample."
        )


def refuse_channels(shape: Sequence[int], path: Path) -> None:
    """Refuse an image with several values per voxel.

    Args:
        shape: of the whole array.
        path: of its file.

    Raises:
        DataError: an axis beyond the third is longer than 1.
    """
    channels = math.prod(shape[3:])
    if channels > 1:
        raise DataError(
            f"{path}: the image has {channels} channels; keep the one to segment, alone, in a file."
        )


def refuse_ambiguous_header(path: Path) -> None:
    """Refuse a file that training cannot read, or would place elsewhere than all else does.

    Args:
        path: of a file that can be decoded.

    Raises:
        DataError: it is NRRD or MetaImage, has more than four axes, its lengths are not in mm, its affine spans no volume,
            or its header says two things of where the volume lies.
    """
    refuse_other_kinds(path)
    image: Any = nibabel.load(path)
    _refuse_more_axes(image.shape, path)
    unit = _OTHER_UNITS.get(int(image.header["xyzt_units"]) & 7)
    if unit is not None:
        raise DataError(
            f"{path}: its header gives lengths in {unit}, which training would take for mm; bring"
            " its affine to mm and set xyzt_units to mm."
        )
    _refuse_flat(image.affine, path)
    # MONAI may change the affine of the image that it is given.
    affine = image.affine.copy()
    other = _affine_in_training(image)
    if other is None or not is_same_grid(image.shape, affine, other):
        line = "import nibabel as n; i = n.load('a.nii.gz'); n.save(n.Nifti1Image(i.dataobj, i.affine), 'b.nii.gz')"
        raise DataError(
            f"{path}: sform, qform and pixdim of its header contradict each other, so that training"
            f' would place it elsewhere than prediction; if its sform is right, write it anew: python -c "{line}".'
        )


def _refuse_more_axes(shape: Sequence[int], path: Path) -> None:
    """MONAI takes the last axis for channels and the fourth, if it is another, for space."""
    if len(shape) > 4:
        line = "import nibabel as n; n.save(n.squeeze_image(n.load('a.nii.gz')), 'b.nii.gz')"
        raise DataError(
            f"{path}: has the shape {tuple(shape)}, while training takes three axes; drop those of length"
            f' 1 with python -c "{line}".'
        )


def _refuse_flat(affine: NDArray[np.float64], path: Path) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    is_solid = np.isfinite(affine).all() and lengths.all()
    if not (is_solid and abs(np.linalg.det(affine[:3, :3] / lengths)) > _LEAST_DETERMINANT):
        edges = " x ".join(f"{length:.3g}" for length in lengths)
        raise DataError(
            f"{path}: the axes of its affine span no volume (a voxel has edges of {edges} mm); correct"
            " sform, qform and pixdim of its header."
        )


def largest_corner_shift(
    shape: Sequence[int], affine: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """The longest way, in mm, between the places that two affines give to a corner of a volume.

    Args:
        shape: of the volume, in voxels.
        affine: (4, 4), voxel to mm.
        other: likewise.
    """
    size = (*shape, 1, 1, 1)[:3]
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)], dtype=np.float64)
    corners[:, :3] *= np.asarray(size) - 1
    return float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())


def is_same_grid(
    shape: Sequence[int], affine: NDArray[np.float64], other: NDArray[np.float64]
) -> bool:
    """Whether two affines place a volume alike, up to how headers round.

    Args:
        shape: of the volume, in voxels.
        affine: (4, 4), voxel to mm.
        other: likewise.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    limit = CORNER_TOLERANCE * spacing[spacing > 0].min(initial=np.inf)
    return bool(largest_corner_shift(shape, affine, other) <= limit)


def _affine_in_training(image: Any) -> NDArray[np.float64] | None:  # noqa: ANN401 - nibabel has no types
    """Where MONAI places an image; None where it cannot tell."""
    axes, lengths = image.ndim, np.linalg.norm(image.affine[:3, :3], axis=0)
    if axes <= 3 and np.allclose(image.header.get_zooms(), lengths[:axes]):
        return np.asarray(image.affine)  # MONAI asks the same first, and takes seconds to load
    from monai.data.utils import correct_nifti_header_if_necessary  # noqa: PLC0415

    try:
        return np.asarray(correct_nifti_header_if_necessary(image).affine)  # type: ignore[no-untyped-call]
    except ValueError:  # the quaternion is none
        return None
