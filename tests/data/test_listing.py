"""The images of a folder: each can be segmented and gets a result of its own, or none is begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsemi.data.listing import require_images
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError

SHAPE = (5, 4, 3)


def image(path: Path, shape: tuple[int, ...] = SHAPE, value: float = 0.0) -> str:
    array = np.zeros(shape, np.float32)
    array.flat[-1] = value
    write_nifti(path, array, np.eye(4))
    return str(path)


def damaged(path: Path) -> str:
    image(path)
    path.write_bytes(path.read_bytes()[:-8])
    return str(path)


def folder(path: Path) -> str:
    path.mkdir()
    return str(path)


def of_other_units(path: Path) -> str:
    image(path)
    read = nibabel.load(path)
    read.header.set_xyzt_units("meter")
    nibabel.save(read, path)
    return str(path)


def test_a_folder_without_images_is_named() -> None:
    with pytest.raises(DataError, match="data holds no NIfTI image"):
        require_images([], "data")


def test_images_are_returned_as_they_are(tmp_path: Path) -> None:
    paths = [image(tmp_path / "b.nii"), image(tmp_path / "a.nii.gz", (*SHAPE, 1))]
    assert require_images(paths, str(tmp_path)) == paths


def test_two_images_of_one_name_are_refused() -> None:
    """Both segmentations would be p_seg.nii.gz."""
    paths = [str(Path("data") / name) for name in ("o.nii", "p.nii", "p.nii.gz")]
    with pytest.raises(DataError, match=r"p\.nii and .*p\.nii\.gz have one name.*keep one"):
        require_images(paths, "data")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (damaged, "cannot be read as a volume"),
        (folder, r"cannot be read as a volume \(it is a folder\)"),
        (lambda path: image(path, (5, 4, 3, 2)), "the image has 2 channels"),
        (lambda path: image(path, (5, 4)), r"has the shape \(5, 4\), and a volume three axes"),
        (lambda path: image(path, value=np.nan), "has NaN or infinite voxels"),
        (lambda path: image(path, value=-3.4e38), "fill values"),
        (of_other_units, "gives lengths in meters"),
    ],
)
def test_what_cannot_be_segmented_is_named_before_anything_is(
    tmp_path: Path, made: Callable[[Path], str], words: str
) -> None:
    good, bad = image(tmp_path / "a.nii.gz"), made(tmp_path / "b.nii")
    told = rf"1 of 2 images .* \(b\.nii\).*medsemi predict.*{bad}: .*{words}"
    with pytest.raises(DataError, match=told):
        require_images([good, bad], str(tmp_path))


def test_all_images_that_cannot_be_segmented_are_named_at_once(tmp_path: Path) -> None:
    paths = [image(tmp_path / "a.nii"), folder(tmp_path / "b.nii"), damaged(tmp_path / "c.nii.gz")]
    with pytest.raises(DataError, match=r"2 of 3 images .* \(b\.nii, c\.nii\.gz\)") as refusal:
        require_images(paths, str(tmp_path))
    assert "\n" not in str(refusal.value)
