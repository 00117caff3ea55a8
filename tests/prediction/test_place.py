"""Scans of one name in several runs over one folder: each keeps its own result, and has only one."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import STAGES

FAKE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fake_run.py"))))
Go = Callable[..., Any]
Write = Callable[..., Path]
contents = FAKE.contents
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


def write_file(folder: Path, seed: int) -> Path:
    """A NIfTI file that has the name of any other."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(6, 5, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), folder / "ct.nii.gz")
    return folder


def write_unnamed(write: Write, folder: Path, seed: int) -> Path:
    """A series without identifiers, in a folder that has the name of any other."""
    uids = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), "")
    write_series(write, f"{folder.name}/CT", **uids, PixelData=bytes([seed]) * 48)
    return folder


@pytest.fixture(params=["file", "series"])
def sites(request: pytest.FixtureRequest, write_image: Write, tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "siteA", tmp_path / "siteB"]
    for seed, folder in enumerate(folders):
        if request.param == "file":
            write_file(folder, seed)
        else:
            write_unnamed(write_image, folder, seed)
    return folders


@pytest.mark.parametrize("names", ["path", "hash"])
@pytest.mark.parametrize("first", [[0], [0, 1], [1, 0]])
def test_a_scan_keeps_its_name_whatever_else_is_in_a_run(
    names: str, first: list[int], sites: list[Path], go: Go, out: Path
) -> None:
    assert go(*(sites[number] for number in first), names=names).counts == {"done": len(first)}
    told = go(*sites, names=names)
    assert told.counts == {"already": len(first)} | ({"done": 1} if len(first) == 1 else {})
    before = contents(out)
    nothing_left = replace(FAKE.no_network(FAKE.make_stages()), discover=STAGES.discover)
    for inputs in ([sites[0]], [sites[1]], sites, sites[::-1]):
        told = go(*inputs, names=names, stages=nothing_left)
        assert (told.counts, notes(told)) == ({"already": len(inputs)}, [])
    assert contents(out) == before
    assert len(records(out)) == len((out / "summary.csv").read_text().splitlines()) - 1 == 2
    # What changed is done again, under the name that it has.
    assert go(*sites, names=names, overlap=0.25).counts == {"done": 2}
    assert contents(out).keys() == before.keys()


def test_a_scan_keeps_its_name_in_a_shard(sites: list[Path], go: Go, out: Path) -> None:
    go(sites[0])
    for shard in ((1, 2), (2, 2)):
        go(*sites, shard=shard)
    assert len(records(out)) == 2


def test_a_scan_that_was_refused_or_skipped_is_told_once(tmp_path: Path, go: Go, out: Path) -> None:
    sites = [write_file(tmp_path / name, seed) for seed, name in enumerate(("siteA", "siteB"))]

    def read(*_: Any) -> Any:
        raise CaseRefused("R07", file="a slice")

    stages = replace(FAKE.make_stages(), discover=STAGES.discover, read=read)
    assert go(sites[0], stages=stages).counts == {"refused": 1}
    assert go(*sites, stages=stages).counts == {"refused": 2}
    assert len(records(out)) == 2
    assert records(out).keys() > {"ct"}
    (other,) = records(out).keys() - {"ct"}
    assert go(*sites, series=other).counts == {"skipped": 1, "done": 1}
    assert {name: each["status"] for name, each in records(out).items()} == {
        "ct": "skipped",
        other: "done",
    }


def test_a_scan_is_selected_by_the_name_of_its_result(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    sites = [write_unnamed(write_image, tmp_path / name, 1 + n) for n, name in enumerate("AB")]
    go(sites[0], names="path")
    assert list(records(out)) == ["CT"]
    told = go(*sites, names="path", series="CT")
    assert (told.counts, told.codes("CT")) == ({"already": 1, "done": 1}, ["S12"])


def test_dicom_that_an_older_version_put_beside_a_file_is_known(
    write_image: Write, tmp_path: Path, go: Go, out: Path
) -> None:
    write_series(write_image, "in/ct")
    go(tmp_path / "in", names="path")
    forget(out)
    (out / "cases" / "ct").rename(out / "cases" / "ct_")
    go(write_file(tmp_path / "files", 1))
    told = go(tmp_path / "in", names="path")
    assert (told.counts, told.codes("ct_")) == ({"already": 1}, ["S12"])
