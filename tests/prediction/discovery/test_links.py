"""Links: to files they are followed, to folders not, and one that leads nowhere is told.

Data sets under version control consist of links to a store that is hidden, or not fetched yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options

Find = Callable[..., list[Case]]
Write = Callable[..., Path]


def link(place: Path, target: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def said(cases: list[Case]) -> dict[str, tuple[str, ...]]:
    return {case.source.name: case.codes for case in cases}


@pytest.mark.parametrize("store", ["elsewhere", "in/.store"])
def test_a_series_of_links_is_the_series_of_their_files(
    store: str, write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    for z in range(12):
        file = write_image(f"{store}/key{z}", z)
        link(tmp_path / "in" / "scan" / f"{z:02}.dcm", file)
    write_image("in/scan/12.dcm", 12)
    (case,) = cases_of(tmp_path / "in")
    assert (case.outcome, case.codes, len(case.source.slices)) == ("predict", (), 13)
    assert case.source.name == "scan/00.dcm"


def test_a_file_and_a_link_to_it_count_once_under_its_own_name(
    write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    for z in range(12):
        file = write_image(f"in/b/{z:02}", z)
        link(tmp_path / "in" / "a" / f"{z:02}", file)
        link(tmp_path / "in" / "c" / f"{z:02}", Path("..") / "a" / f"{z:02}")
    scan = discover([tmp_path / "in"], Options())
    (case,) = scan.cases
    assert (case.codes, case.source.name, scan.files) == ((), "b/00", 12)
    (first,) = cases_of(tmp_path / "in" / "a", tmp_path / "in" / "b")
    assert (first.source.name, first.source.files) == ("00", 12)


def test_a_link_to_a_folder_is_told_once_and_followed_where_it_is_the_input(
    write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    write_image("elsewhere/image.dcm")
    write_image("in/image.dcm", SeriesInstanceUID="1.2.3")
    for name in ("linked", "linked again"):
        link(tmp_path / "in" / name, tmp_path / "elsewhere")
    link(tmp_path / "in" / "loop", tmp_path)
    cases = cases_of(tmp_path / "in")
    assert said(cases) == {"image.dcm": ("S05",), "linked": ("S13",), "loop": ("S13",)}
    (told,) = (case for case in cases if case.source.name == "linked")
    assert told.outcome == "skip"
    assert told.findings[0].text.startswith("A link to a folder, which is not followed.")
    assert said(cases_of(tmp_path / "in" / "linked")) == {"image.dcm": ("S05",)}


def test_a_link_to_a_file_that_is_not_there_is_told(
    write_image: Write, tmp_path: Path, cases_of: Find
) -> None:
    """Such as a file of a data set that was not fetched, whatever it is called."""
    write_image("in/image.dcm")
    link(tmp_path / "in" / "brain.nii.gz", tmp_path / ".store" / "key")
    link(tmp_path / "in" / "slice", tmp_path / "in" / "image.dcm" / "inside")
    link(tmp_path / "in" / ".hidden", tmp_path / "absent")
    cases = cases_of(tmp_path / "in")
    assert said(cases) == {"image.dcm": ("S05",), "brain.nii.gz": ("U02",), "slice": ("U02",)}
    (brain,) = (case for case in cases if case.source.name == "brain.nii.gz")
    assert (brain.outcome, brain.case_id) == ("refuse", "brain")
    assert brain.findings[0].text.startswith("A link to a file that is not there.")
    for name in ("brain.nii.gz", "round"):
        place = tmp_path / "in" / name
        if not place.is_symlink():
            link(place, place)
        with pytest.raises(RunStopped, match=f"E12 .*{name} is a link that leads nowhere"):
            cases_of(place)


def test_a_link_to_no_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a pipe waits for its other end; a circle has none."""
    os.mkfifo(tmp_path / "pipe")
    folder = tmp_path / "in"
    for name, target in (("pipe.dcm", tmp_path / "pipe"), ("zero.dcm", Path("/dev/zero"))):
        link(folder / name, target)
    link(folder / "round.dcm", folder / "round.dcm")
    scan = discover([folder], Options())
    assert not scan.cases
    assert [(name, finding.code) for name, finding in scan.ignored] == [
        (name, "S01") for name in ("pipe.dcm", "round.dcm", "zero.dcm")
    ]
