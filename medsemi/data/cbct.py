"""Public dental cone-beam scans, from their layouts to NIfTI with one class: root canal.

Voxels keep their values, their order and their affine; a molar is cut out as a box. Nothing is
resampled. A header without a plausible spacing is refused, because every length would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.data.reading import volume_stem
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

FIRST_MOLARS = (16, 26, 36, 46)
# Dental scanners store voxels of 0.075 to 0.4 mm; 1 mm is what a lost spacing looks like.
SPACINGS = (0.05, 0.7)
_PULP = 100
_MASKS = ("_Masks", "_Mask")
_LEFT_CANAL, _RIGHT_CANAL = 3, 4

Read = Callable[[Path], tuple[NDArray[Any], NDArray[np.float64]]]


@dataclass(frozen=True)
class ScanFiles:
    """One scan as it was downloaded.

    Attributes:
        case_id: name of the scan, and of its patient where nothing else is known.
        image: a file, or a folder of DICOM slices.
        label: its masks; None for an unlabeled scan.
    """

    case_id: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class CanalCase:
    """One case to be written.

    Attributes:
        case_id: name of the case.
        scan: the scan that it comes from; its teeth belong to one patient.
        image: (x, y, z) int16 or float32.
        label: (x, y, z) uint8, 1 in the canals; None for an unlabeled scan.
        affine: (4, 4), voxel to millimetres.
        before: voxels of each value of the masks inside the case.
    """

    case_id: str
    scan: str
    image: NDArray[Any]
    label: NDArray[np.uint8] | None
    affine: NDArray[np.float64]
    before: Mapping[int, int]


def find_sts(folder: Path) -> list[ScanFiles]:
    """Find the scans of the STS and STSR challenges.

    Args:
        folder: holds Images/<id>.nii.gz and Masks/<id>_Masks.nii.gz, at any depth; scans without
            masks are unlabeled.

    Raises:
        DataError: there is no image, masks without one, or two files of one id.
    """
    images, labels = _by_id(folder.rglob("Images/*")), _by_id(folder.rglob("Masks/*"), _MASKS)
    return _paired(folder, images, labels, "Images/<id>.nii.gz")


def find_toothfairy(folder: Path) -> list[ScanFiles]:
    """Find the scans of ToothFairy2 and later.

    Args:
        folder: holds imagesTr/<id>_0000.<suffix> and labelsTr/<id>.<suffix>, at any depth.

    Raises:
        DataError: there is no image, a label without one, or two files of one id.
    """
    images, labels = (
        _by_id(folder.rglob("imagesTr/*"), ("_0000",)),
        _by_id(folder.rglob("labelsTr/*")),
    )
    return _paired(folder, images, labels, "imagesTr/<id>_0000.nii.gz")


def find_folder(folder: Path) -> list[ScanFiles]:
    """Find the scans of a plain folder.

    Args:
        folder: holds images/<id>.<suffix>, or images/<id>/ with DICOM slices, and
            masks/<id>.<suffix>; scans without a mask are unlabeled.

    Raises:
        DataError: there is no image, a mask without one, or two images or masks of one id.
    """
    # Not at any depth: the converted scans are often written into a folder below.
    images, labels = _by_id(folder.glob("images/*")), _by_id(folder.glob("masks/*"))
    for path in sorted(folder.glob("images/*")):
        if path.is_dir() and not path.name.startswith("."):
            _add(images, path.name, path)
    return _paired(folder, images, labels, "images/<id>.nii.gz or images/<id>/*.dcm")


def read_scan(
    scan: ScanFiles, read: Read, spacing: float | None
) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.float64]]:
    """Read image and masks of one scan.

    Args:
        scan: the files.
        read: gives voxels and affine (RAS, mm) of a file, or of a folder of DICOM slices.
        spacing: voxel edge in mm for files that lost theirs; refused where the header has one.

    Returns:
        Image, masks (None for an unlabeled scan) and affine.

    Raises:
        DataError: the spacing is not that of a dental scan, or image and masks have two grids.
    """
    image, affine = read(scan.image)
    while image.ndim > 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 3:
        raise DataError(f"{scan.image}: shape {image.shape} is no volume; take it out.")
    label = None
    if scan.label is not None:
        label, label_affine = read(scan.label)
        while label.ndim > 3 and label.shape[-1] == 1:
            label = label[..., 0]
        if label.shape != image.shape or not np.allclose(label_affine, affine, atol=0.01):
            raise DataError(
                f"{scan.label}: shape {label.shape} or affine differ from {scan.image};"
                " bring both to one grid."
            )
        if label.dtype.kind == "f" and not (label == np.round(label)).all():
            raise DataError(f"{scan.label}: masks must hold whole numbers; it is another file.")
    return image, label, _checked_affine(affine, spacing, scan.image)


def whole_scan(
    scan: ScanFiles,
    image: NDArray[Any],
    label: NDArray[Any] | None,
    affine: NDArray[np.float64],
    canal: Sequence[int],
) -> Iterator[CanalCase]:
    """Make one case of a scan.

    Args:
        scan: where it comes from.
        image: (x, y, z).
        label: (x, y, z) masks, or None.
        affine: (4, 4).
        canal: values of the masks that become the class.

    Yields:
        The case.
    """
    binary = None if label is None else np.isin(label, canal).astype(np.uint8)
    values = stored(image, scan.image)
    yield CanalCase(scan.case_id, scan.case_id, values, binary, affine, voxel_counts(label))


def first_molars(
    scan: ScanFiles,
    image: NDArray[Any],
    label: NDArray[Any],
    affine: NDArray[np.float64],
    teeth: Sequence[int] = FIRST_MOLARS,
    margin: float = 4.0,
) -> Iterator[CanalCase]:
    """Cut each first molar of a ToothFairy scan out as a case of its own.

    Args:
        scan: where they come from.
        image: (x, y, z).
        label: (x, y, z); a tooth has its FDI number, its pulp that number + 100.
        affine: (4, 4).
        teeth: FDI numbers.
        margin: what is kept around tooth and pulp, in mm.

    Yields:
        A case for each tooth that is there; its label is empty if the pulp was not drawn.

    Raises:
        DataError: left and right are swapped in the header or in the labels.
    """
    _refuse_swapped_sides(scan, label, affine)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    for tooth in teeth:
        inside = np.argwhere((label == tooth) | (label == tooth + _PULP))
        if not len(inside):
            continue
        grown = np.ceil(margin / edges - 1e-6).astype(int)
        low = np.maximum(inside.min(axis=0) - grown, 0)
        high = np.minimum(inside.max(axis=0) + 1 + grown, label.shape)
        box = tuple(slice(*limits) for limits in zip(low, high, strict=True))
        moved = affine.copy()
        moved[:3, 3] = (affine @ [*low, 1])[:3]
        pulp = (label[box] == tooth + _PULP).astype(np.uint8)
        case_id = f"{scan.case_id}_{tooth}"
        counts = voxel_counts(label[box])
        values = stored(image[box], scan.image)
        yield CanalCase(case_id, scan.case_id, values, pulp, moved, counts)


def write_case(case: CanalCase, folder: Path) -> None:
    """Write images/<id>.nii.gz and labels/<id>.nii.gz, read back and compared.

    Args:
        case: what is written; an unlabeled one gets no label file.
        folder: where images/ and labels/ are.

    Raises:
        DataError: what was read back differs.
    """
    write_nifti(folder / "images" / f"{case.case_id}.nii.gz", case.image, case.affine)
    if case.label is not None:
        write_nifti(folder / "labels" / f"{case.case_id}.nii.gz", case.label, case.affine)


def stored(image: NDArray[Any], path: Path) -> NDArray[Any]:
    """The same values as int16 if all are whole and fit, else as float32.

    Args:
        image: (x, y, z).
        path: the file that an error names.

    Raises:
        DataError: a value is not finite.
    """
    if image.dtype.kind in "biu":
        fits = image.size == 0 or (image.min() >= -(2**15) and image.max() < 2**15)
        return image.astype(np.int16 if fits else np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: has NaN or infinite voxels; replace them.")
    whole = image.astype(np.int16) if np.abs(image).max(initial=0) < 2**15 else None
    return whole if whole is not None and (whole == image).all() else image.astype(np.float32)


def voxel_counts(label: NDArray[Any] | None) -> dict[int, int]:
    """Voxels of each value."""
    if label is None:
        return {}
    values, counts = np.unique(label, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _by_id(paths: Iterable[Path], endings: Sequence[str] = ()) -> dict[str, Path]:
    """The volumes among some paths, by their id: the stem without the endings."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        case_id = volume_stem(path.name)
        if case_id is None or not path.is_file():
            continue
        for ending in endings:
            case_id = case_id.removesuffix(ending)
        _add(found, case_id, path)
    return found


def _add(found: dict[str, Path], case_id: str, path: Path) -> None:
    # The masks of one would be paired with the image of the other.
    if found.setdefault(case_id, path) != path:
        raise DataError(
            f"{path}: the scan {case_id!r} has a second file {found[case_id]}; rename one, with its"
            " masks, or give the folder of one part alone."
        )


def _paired(
    folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
) -> list[ScanFiles]:
    if not images:
        raise DataError(f"{folder}: no {expected} below it; check the path and the layout.")
    orphans = sorted(set(labels) - set(images))
    if orphans:
        raise DataError(f"{labels[orphans[0]]}: its image is missing; download it or remove this.")
    return [ScanFiles(key, images[key], labels.get(key)) for key in sorted(images)]


def _checked_affine(
    affine: NDArray[np.float64], spacing: float | None, path: Path
) -> NDArray[np.float64]:
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACINGS
    plausible = bool(((edges >= low) & (edges <= high)).all())
    if plausible and spacing is not None:
        raise DataError(f"{path}: has a spacing of its own ({edges.round(4)}); omit --spacing.")
    if plausible:
        return affine
    if spacing is None or not low <= spacing <= high:
        raise DataError(
            f"{path}: a spacing of {edges.round(4)} mm is not that of a dental scan"
            f" ({low} to {high} mm); find the true one and give --spacing."
        )
    corrected = np.eye(4)
    directions = affine[:3, :3] / np.where(edges > 0, edges, 1)
    corrected[:3, :3] = spacing * (directions if (edges > 0).all() else np.eye(3))
    return corrected


def _refuse_swapped_sides(
    scan: ScanFiles, label: NDArray[Any], affine: NDArray[np.float64]
) -> None:
    """Axis x of NIfTI points to the patient's right: the left nerve canal has the smaller x."""
    places = [np.argwhere(label == value) for value in (_LEFT_CANAL, _RIGHT_CANAL)]
    if not all(len(place) for place in places):
        return
    left, right = (float((affine[:3, :3] @ place.mean(axis=0))[0]) for place in places)
    if left > right:
        raise DataError(
            f"{scan.label}: the left nerve canal lies on the patient's right; correct the header."
        )
