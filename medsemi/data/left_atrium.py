"""The left-atrium scans of the 2018 challenge: from the field's files to NIfTI.

Two sources are read: the HDF5 files (mri_norm2.h5) that UA-MT published and the field exchanges,
and the original NRRD pairs (lgemri.nrrd, laendo.nrrd), which get the same published preparation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.data.reading import read_volume
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

H5_NAME = "mri_norm2.h5"
IMAGE_NAME, LABEL_NAME = "lgemri.nrrd", "laendo.nrrd"
_FOREGROUND = 255
_SMALLEST_CROP = 112


@dataclass(frozen=True)
class Scan:
    """One prepared scan.

    Attributes:
        image: (x, y, z) float32.
        label: (x, y, z) uint8, 1 in the left atrium.
        affine: (4, 4), voxel to millimetres.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]


def find_scans(folder: Path) -> dict[str, Path]:
    """Find the scans below a folder; the id of a scan is the name of its own folder.

    Args:
        folder: holds <id>/mri_norm2.h5, or <id>/lgemri.nrrd with <id>/laendo.nrrd, at any depth.

    Returns:
        The HDF5 file or NRRD image of each id, sorted by id.

    Raises:
        DataError: there is none, both kinds are mixed, or one id occurs twice.
    """
    kinds = {name: sorted(folder.rglob(name)) for name in (H5_NAME, IMAGE_NAME)}
    if all(kinds.values()):
        raise DataError(
            f"{folder}: holds both {H5_NAME} and {IMAGE_NAME} files; give a folder with one kind."
        )
    scans: dict[str, Path] = {}
    for path in (*kinds[H5_NAME], *kinds[IMAGE_NAME]):
        case_id = path.parent.name
        if case_id in scans:
            raise DataError(f"{path}: the id {case_id} also occurs at {scans[case_id]}; keep one.")
        scans[case_id] = path
    if not scans:
        raise DataError(f"{folder}: no {H5_NAME} and no {IMAGE_NAME} below it; check the path.")
    return dict(sorted(scans.items()))


def read_h5(path: Path, spacing: float) -> Scan:
    """Read one HDF5 file as it is.

    Args:
        path: datasets `image` (float32) and `label` (uint8, 0 and 1), axes x, y, z.
        spacing: voxel edge in mm; the files do not hold it (0.625 for the published ones).

    Returns:
        The scan; origin and orientation were lost by the publishers, so the affine is diagonal.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    import h5py  # noqa: PLC0415 - needed by this one converter, not by training

    try:
        with h5py.File(path) as file:
            image, label = np.asarray(file["image"]), np.asarray(file["label"])
    except (OSError, KeyError) as error:
        raise DataError(
            f"{path}: no HDF5 file with the datasets image and label; download it again."
        ) from error
    if image.ndim != 3 or image.shape != label.shape or image.dtype != np.float32:
        raise DataError(
            f"{path}: image {image.shape} {image.dtype} and label {label.shape} are not a float32"
            " volume and its label; download it again."
        )
    _refuse_other_values(label, {0, 1}, path)
    return Scan(image, label.astype(np.uint8), _diagonal(spacing))


def read_original(path: Path, seed: int) -> Scan:
    """Read an original NRRD pair and prepare it as UA-MT published.

    The label is where the expert's map is 255. The image becomes z-scores of the whole volume
    (population standard deviation), then both are cropped in x and y by `crop_range`. The
    published code also computes a crop in z and does not apply it; neither is it here.

    Args:
        path: lgemri.nrrd; laendo.nrrd lies beside it.
        seed: of the margins; together with the id of the scan it determines them.

    Returns:
        The scan; its affine has the spacing of the NRRD header and the origin of the crop.

    Raises:
        DataError: a file is missing or damaged, the grids differ, or there is no atrium.
    """
    label_path = path.with_name(LABEL_NAME)
    if not label_path.is_file():
        raise DataError(f"{label_path}: is missing beside {path.name}; download the pair.")
    image, affine = read_volume(path)
    label, label_affine = read_volume(label_path)
    if image.ndim != 3 or image.shape != label.shape:
        raise DataError(
            f"{label_path}: shape {label.shape} differs from {image.shape} of {path.name};"
            " download the pair again."
        )
    if not np.allclose(label_affine, affine, atol=0.01):
        raise DataError(
            f"{label_path}: spacing, direction or origin differ from those of {path.name}; download"
            " the pair again."
        )
    _refuse_other_values(label, {0, _FOREGROUND}, label_path)
    generator = np.random.default_rng([seed, _number(path.parent.name)])
    return prepare(image, label == _FOREGROUND, affine, generator, label_path)


def prepare(
    image: NDArray[Any],
    foreground: NDArray[np.bool_],
    affine: NDArray[np.float64],
    generator: np.random.Generator,
    origin: Path,
) -> Scan:
    """Normalize a whole volume and crop it in x and y around its label.

    Args:
        image: (x, y, z).
        foreground: (x, y, z).
        affine: of the whole volume.
        generator: margins are drawn from it, x before y, low before high.
        origin: the file that an error names.

    Returns:
        The scan.

    Raises:
        DataError: there is no foreground, or the image is constant.

    Source:
        UA-MT (github.com/yulequan/UA-MT), preparation of the left atrium.
    """
    if not foreground.any():
        raise DataError(f"{origin}: no voxel has the value {_FOREGROUND}; remove the scan.")
    voxels = image.astype(np.float64)
    if voxels.std() == 0:
        raise DataError(f"{origin}: the image beside it is constant; remove the scan.")
    occupied = [np.asarray(foreground.any(axis=others)) for others in ((1, 2), (0, 2))]
    ranges = [crop_range(axis, generator) for axis in occupied]
    crop = tuple(slice(*limits) for limits in ranges)
    moved = affine.copy()
    moved[:3, 3] = (affine @ [ranges[0][0], ranges[1][0], 0, 1])[:3]
    scored = ((voxels - voxels.mean()) / voxels.std()).astype(np.float32)
    return Scan(scored[crop], foreground[crop].astype(np.uint8), moved)


def crop_range(occupied: NDArray[np.bool_], generator: np.random.Generator) -> tuple[int, int]:
    """The published crop of one axis: the label, widened to 112 voxels, and random margins.

    Args:
        occupied: where the label is along the axis.
        generator: a margin of 10 to 19 voxels is drawn for the low end, then for the high end.

    Returns:
        First voxel of the crop, and the first one after it.
    """
    where = np.flatnonzero(occupied)
    first, last = int(where[0]), int(where[-1])
    widening = max(_SMALLEST_CROP - (last - first), 0) // 2
    low, high = (int(margin) for margin in generator.integers(10, 20, size=2))
    return max(first - low - widening, 0), min(last + high + widening, len(occupied))


def halve(scan: Scan) -> Scan:
    """Half the resolution: means of 2x2x2 voxels, an odd voxel at the end of an axis dropped.

    A voxel is foreground where more than 4 of the 8 are; a tie becomes background.

    Args:
        scan: at least two voxels along each axis.

    Returns:
        The scan on the coarse grid. Voxel centers move by half a fine voxel, so the origin of
        the affine does, too.
    """
    halved = [length // 2 for length in scan.image.shape]
    blocks = [size for length in halved for size in (length, 2)]
    inner = tuple(slice(2 * length) for length in halved)
    image = scan.image[inner].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float64)
    count = scan.label[inner].reshape(blocks).sum(axis=(1, 3, 5))
    affine = scan.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] = (scan.affine @ [0.5, 0.5, 0.5, 1])[:3]
    return Scan(image.astype(np.float32), (count > 4).astype(np.uint8), affine)


def convert_scan(
    path: Path, case_id: str, folder: Path, spacing: float, seed: int, *, half: bool
) -> Scan:
    """Convert one scan to images/<id>.nii.gz and labels/<id>.nii.gz, read back and compared.

    Args:
        path: as `find_scans` returns it.
        case_id: names the files.
        folder: where images/ and labels/ are.
        spacing: voxel edge in mm of an HDF5 file; an NRRD file has its own.
        seed: of the margins of an NRRD file.
        half: write at half the resolution.

    Returns:
        What was written.

    Raises:
        DataError: the source cannot be used, or the written file differs from it.
    """
    is_h5 = path.name == H5_NAME
    scan = read_h5(path, spacing) if is_h5 else read_original(path, seed)
    if half:
        scan = halve(scan)
    if half and is_h5:
        # The origin is unknown and stays 0, as at full resolution.
        scan = Scan(scan.image, scan.label, _diagonal(2 * spacing))
    write_nifti(folder / "images" / f"{case_id}.nii.gz", scan.image, scan.affine)
    write_nifti(folder / "labels" / f"{case_id}.nii.gz", scan.label, scan.affine)
    return scan


def _diagonal(spacing: float) -> NDArray[np.float64]:
    return np.diag([spacing, spacing, spacing, 1.0])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _refuse_other_values(label: NDArray[Any], allowed: Iterable[int], path: Path) -> None:
    wrong = sorted(set(np.unique(label).tolist()) - set(allowed))
    if wrong:
        raise DataError(
            f"{path}: the label has the value {wrong[0]:g}, expected are {sorted(allowed)};"
            " this is another file than the published one."
        )
