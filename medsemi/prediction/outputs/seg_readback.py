"""A DICOM segmentation is read back and compared with the labels, voxel by voxel, in patient space.

Nothing that was known when it was written is used to find a frame: its place is what its own
attributes say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels

from medsemi.prediction.case import Case, Grid
from medsemi.prediction.codes import CaseRefused

# mm along the normal: closer planes of one stack are one plane.
SAME_PLANE = 0.02
# A regular stack may deviate from its lattice by this much: mm, or parts of a pixel.
OFF_LATTICE_MM, OFF_LATTICE_PIXELS = 0.3, 0.6


def check_seg(path: Path, case: Case, slice_labels: NDArray[np.unsignedinteger[Any]]) -> None:
    """Read a segmentation back and compare it with the labels.

    Each frame must lie on a plane of the grid where a source slice is, refer to exactly that source
    image, and hold exactly the labels of that plane; labels outside all frames must be background.

    Args:
        path: the file, of type BINARY or LABELMAP.
        case: with its grid and `source.slices`.
        slice_labels: (column, row, source slice), what must be found.

    Raises:
        CaseRefused: E03 with the first difference.
    """
    try:
        seg = dcmread(path)
        found = _compare_frames(seg, case, slice_labels)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _differs(f"cannot be read back ({type(error).__name__})") from error
    if found != np.count_nonzero(slice_labels):
        raise _differs("lacks voxels")


def _compare_frames(
    seg: Dataset, case: Case, slice_labels: NDArray[np.unsignedinteger[Any]]
) -> int:
    """The number of labeled voxels in all frames, each of which fits."""
    grid = case.grid
    assert grid is not None
    shared = seg.SharedFunctionalGroupsSequence[0]
    found, seen = 0, set()
    items = seg.PerFrameFunctionalGroupsSequence
    for item, pixels in zip(items, iter_pixels(seg, raw=True), strict=True):
        index = _source_slice(_plane(item, shared), pixels.shape, case, grid)
        _check_reference(item, case, index)
        expected, number = slice_labels[:, :, index].T, 0
        if seg.SegmentationType == "BINARY":
            place = item if "SegmentIdentificationSequence" in item else shared
            number = int(place.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            expected = expected == number
        if not np.array_equal(pixels, expected):
            raise _differs("holds other voxels")
        if (number, index) in seen:
            raise _differs("holds a plane twice")
        seen.add((number, index))
        found += int(np.count_nonzero(pixels))
    return found


def _plane(item: Dataset, shared: Dataset) -> NDArray[np.float64]:
    """(4, 3) matrix from (column, row, 1) of a frame to patient coordinates, LPS, mm."""
    position = item.PlanePositionSequence[0].ImagePositionPatient
    orientation = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=np.float64
    )
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    plane = np.zeros((4, 3))
    plane[:3, 0] = orientation[:3] * float(between_columns)
    plane[:3, 1] = orientation[3:] * float(between_rows)
    plane[:3, 2], plane[3, 2] = np.array(position, dtype=np.float64), 1
    return plane


def _source_slice(
    plane: NDArray[np.float64], shape: tuple[int, ...], case: Case, grid: Grid
) -> int:
    """Index of the source slice that lies where a frame lies, all four corners of it."""
    axes = grid.affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    positions = np.array([each.position for each in case.source.slices])
    distances = np.abs(positions - plane[:3, 2] @ normal)
    index = int(distances.argmin())
    if distances[index] > SAME_PLANE:
        raise _differs("holds a plane where no source image lies")
    if shape != (grid.shape[1], grid.shape[0]):
        raise _differs("has frames of another size")
    columns, rows = np.meshgrid([0.0, grid.shape[0] - 1], [0.0, grid.shape[1] - 1])
    corners = np.stack([columns.ravel(), rows.ravel(), np.ones(4)])
    there = np.insert(corners, 2, case.slice_index[index], axis=0)
    apart = np.linalg.norm((plane @ corners - grid.affine @ there)[:3], axis=0).max()
    if apart > max(OFF_LATTICE_MM, OFF_LATTICE_PIXELS * min(grid.spacing[:2])):
        raise _differs(f"lies {apart:.2f} mm off the labels")
    return index


def _check_reference(item: Dataset, case: Case, index: int) -> None:
    """The frame must refer to the source image on its plane, and to no other."""
    source = case.source.slices[index]
    for derivation in item.DerivationImageSequence:
        for reference in derivation.SourceImageSequence:
            frame = int(reference.get("ReferencedFrameNumber", 1)) - 1
            if (reference.ReferencedSOPInstanceUID, frame) != (source.uid, source.frame):
                raise _differs("refers to another source image")


def _differs(what: str) -> CaseRefused:
    return CaseRefused("E03", why=f"the DICOM segmentation {what}")
