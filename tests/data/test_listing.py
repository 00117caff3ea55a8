"""The images of a folder, each of which gets a result of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.data.listing import require_images
from medsemi.errors import DataError


def test_a_folder_without_images_is_named() -> None:
    with pytest.raises(DataError, match="data holds no NIfTI image"):
        require_images([], "data")


def test_images_are_returned_as_they_are() -> None:
    paths = ["data/b.nii", "data/a.nii.gz"]
    assert require_images(paths, "data") == paths


def test_two_images_of_one_name_are_refused() -> None:
    """Both segmentations would be p_seg.nii.gz."""
    paths = [str(Path("data") / name) for name in ("o.nii", "p.nii", "p.nii.gz")]
    with pytest.raises(DataError, match=r"p\.nii and .*p\.nii\.gz have one name.*keep one"):
        require_images(paths, "data")
