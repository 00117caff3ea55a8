"""What an inference writes: no result of another image is lost, and the same images may come again."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.data.result_files import SOURCES, require_room
from medsemi.errors import ConfigError, OutputError

IMAGES = ("one/scan.nii.gz", "one/other.nii")
REFUSED = r"scan_seg\.nii\.gz \(2 in all\), and sources\.json does not say"


def segment(folder: Path) -> None:
    for name in ("scan", "other"):
        (folder / f"{name}_seg.nii.gz").touch()


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    require_room(IMAGES, tmp_path / "a" / "inference")
    assert {path.name for path in (tmp_path / "a" / "inference").iterdir()} == {SOURCES}


def test_where_nothing_is_segmented_nothing_is_made(tmp_path: Path) -> None:
    require_room([], tmp_path / "inference")
    assert not (tmp_path / "inference").exists()


def test_a_run_that_was_killed_may_be_repeated(tmp_path: Path) -> None:
    require_room(IMAGES, tmp_path)
    segment(tmp_path)
    require_room(["two/another.nii"], tmp_path)
    require_room(IMAGES, tmp_path)


def test_the_result_of_another_image_of_the_same_name_is_kept(tmp_path: Path) -> None:
    """Two folders may each hold `scan.nii.gz`, and bundles write to one place."""
    (tmp_path / "older_seg.nii.gz").touch()
    require_room(IMAGES, tmp_path)
    segment(tmp_path)
    with pytest.raises(ConfigError, match=REFUSED):
        require_room(["two/scan.nii.gz", "two/other.nii"], tmp_path)
    # What was refused changes nothing: the first images are still those of the results.
    require_room(IMAGES, tmp_path)


@pytest.mark.parametrize("record", [None, "", "[]", '{"scan_seg.nii.gz"'])
def test_results_of_unknown_images_are_kept(tmp_path: Path, record: str | None) -> None:
    segment(tmp_path)
    if record is not None:
        (tmp_path / SOURCES).write_text(record)
    with pytest.raises(ConfigError, match=REFUSED):
        require_room(IMAGES, tmp_path)


def test_the_record_names_no_folder(tmp_path: Path) -> None:
    require_room(["JANE_DOE/scan.nii.gz"], tmp_path)
    assert "JANE" not in (tmp_path / SOURCES).read_text()


@pytest.mark.parametrize("place", ["file", "file/inference"])
def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written"):
        require_room(IMAGES, tmp_path / place)
