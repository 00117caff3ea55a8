"""Scans of one name in several runs over one folder: each keeps its own result, and has only one."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import STAGES

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
Go = Callable[..., Any]
Write = Callable[..., Path]
records = FAKE.records


@pytest.fixture
def go(model: Path, out: Path) -> Go:
    """Runs over real files; returns what was told."""
    stages = replace(FAKE.make_stages(), discover=STAGES.discover)

    def run(*inputs: Path, stages: Any = stages, **options: Any) -> Any:
        told = FAKE.Told()
        predict(inputs, model, out, Options(**options), told, stages)
        return told

    return run


def write_series(write: Write, folder: str, series: str = "1.2.3", **elements: Any) -> None:
    """Twelve slices."""
    for z in range(12):
        uids = {"SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.{z + 1}"}
        write(f"{folder}/{z:02}", z, **(uids | elements))


def forget(out: Path) -> None:
    """Make the records of DICOM those of an older version, which told no place."""
    for name, record in records(out).items():
        record.pop("place")
        FAKE.write_record(out / "cases" / name, record)


def notes(told: Any) -> list[str]:
    return [sentence for _, code, sentence in told.lines if code == "note"]


def test_a_line_at_the_end_of_a_name_is_its_own(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    write_series(write_image, "in/CT (1)")
    told = go(tmp_path / "in", names="path")
    assert list(records(out)) == ["CT__1_"]
    assert notes(told) == []


@pytest.mark.parametrize(
    ("names", "elements"),
    [
        ("path", [{}, {}]),
        ("header", [{"PatientID": "ANON"}, {"PatientID": "ANON"}]),
        ("auto", [{"SeriesInstanceUID": "", "StudyInstanceUID": "", "SOPInstanceUID": ""}] * 2),
        ("path", [{"SeriesInstanceUID": "", "StudyInstanceUID": ""}] * 2),
        # As of one who replaces identifiers, and gives one to all series.
        ("auto", [{"SeriesInstanceUID": "1.2", "StudyInstanceUID": f"1.3.{n}"} for n in (1, 2)]),
    ],
)
def test_a_series_of_the_same_name_replaces_no_result(
    names: str,
    elements: list[dict[str, str]],
    write_image: Write,
    tmp_path: Path,
    go: Go,
    out: Path,
) -> None:
    for number, each in enumerate(elements):
        voxels = {"PixelData": bytes([number]) * 48}
        write_series(write_image, f"pat{number}/CT/ser", f"1.2.{number}", **voxels, **each)
    assert go(tmp_path / "pat0", names=names).counts == {"done": 1}
    ((first, before),) = records(out).items()
    told = go(tmp_path / "pat1", names=names)
    assert told.counts == {"done": 1}
    after = records(out)
    assert after.pop(first) == before
    (second,) = after
    assert re.fullmatch(re.escape(first) + "_[0-9a-f]{6}", second)
    assert notes(told) == [f"{first} is the result of another scan."]
    for number, name in enumerate((first, second)):
        told = go(tmp_path / f"pat{number}", names=names)
        assert (told.counts, told.codes(name)[-1]) == ({"already": 1}, "S12")
    # What is done anew takes the place of its own earlier result.
    assert go(tmp_path / "pat1", names=names, overlap=0.25).counts == {"done": 1}
    assert records(out).keys() == {first, second}
    assert records(out)[first] == before


def test_a_series_that_was_moved_is_the_same(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    write_series(write_image, "in/CT")
    go(tmp_path / "in")
    (tmp_path / "in").rename(tmp_path / "moved")
    assert go(tmp_path / "moved").counts == {"already": 1}
    assert go(tmp_path / "moved", overlap=0.25).counts == {"done": 1}
    assert len(records(out)) == 1


def test_results_of_dicom_that_tell_no_place_are_known_by_their_series(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    for number in (1, 2):
        write_series(write_image, f"pat{number}/CT", f"1.2.{number}")
    go(tmp_path / "pat1", names="path")
    forget(out)
    assert go(tmp_path / "pat1", names="path").counts == {"already": 1}
    assert go(tmp_path / "pat2", names="path").counts == {"done": 1}
    assert len(records(out)) == 2
    assert go(tmp_path / "pat1", names="path", overlap=0.25).counts == {"done": 1}
    assert len(records(out)) == 2
