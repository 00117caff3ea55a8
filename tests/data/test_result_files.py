"""What an inference writes: no earlier result is lost, and the folder takes files."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.data.result_files import require_room
from medsemi.errors import ConfigError, OutputError

IMAGES = ("one/scan.nii.gz", "one/other.nii")


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    require_room(IMAGES, tmp_path / "a" / "inference")
    assert not list((tmp_path / "a" / "inference").iterdir())


def test_the_result_of_another_image_of_the_same_name_is_kept(tmp_path: Path) -> None:
    """Two folders may each hold `scan.nii.gz`, and bundles write to one place."""
    (tmp_path / "older_seg.nii.gz").touch()
    require_room(IMAGES, tmp_path)
    for name in ("scan", "other"):
        (tmp_path / f"{name}_seg.nii.gz").touch()
    with pytest.raises(ConfigError, match=r"scan_seg\.nii\.gz \(2 in all\); give another"):
        require_room(IMAGES, tmp_path)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    for place in ("file", "file/inference"):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=rf"{place}: cannot be written \(Not a directory\)"):
            require_room(IMAGES, tmp_path / place)
