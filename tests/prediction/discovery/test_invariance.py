"""What files are called, where they lie, how they are numbered and who reads them changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options


def facts(case: Case) -> dict[str, Any]:
    return {
        "key": case.key,
        "case_id": case.case_id,
        "category": case.category,
        "codes": case.codes,
        "geometry": dict(case.geometry),
        "uids": [source.uid for source in case.source.slices],
        "slice_index": case.slice_index,
        "affine": None if case.grid is None else case.grid.affine.tolist(),
    }


@pytest.mark.parametrize(
    "name",
    ["ct_axial_noext", "ct_prone_made", "ct_tilt_siemens", "mr_two_echo_siemens", "ct_uneven_made"],
)
def test_renamed_shuffled_renumbered_files_are_the_same_case(
    name: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(path for path in (samples / name).rglob("*") if path.is_file())
    draw = np.random.default_rng(len(name))
    for number, index in enumerate(draw.permutation(len(files))):
        dataset = pydicom.dcmread(files[index], force=True)
        dataset.InstanceNumber = int(draw.integers(1, 10_000))
        folder = tmp_path / "abc"[draw.integers(3)] / "de"[draw.integers(2)]
        folder.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / f"{draw.integers(10**6):06}_{number}")
    expected = discover([samples / name], Options()).cases
    found = discover([tmp_path], Options()).cases
    assert [facts(case) for case in found] == [facts(case) for case in expected]


def test_the_number_of_threads_changes_nothing(samples: Path) -> None:
    inputs = [samples / name for name in ("dicomdir", "mr_time_series_ge", "nifti")]
    one, many = (discover(inputs, Options(workers=workers)) for workers in (1, 8))
    assert [facts(case) for case in one.cases] == [facts(case) for case in many.cases]
    assert one.ignored == many.ignored


def test_overlapping_inputs_count_a_file_once(samples: Path) -> None:
    folder = samples / "ct_axial_noext"
    once = discover([folder], Options())
    twice = discover([folder, folder, *sorted(folder.iterdir())[:3]], Options())
    assert twice.files == once.files == 20
    assert [facts(case) for case in twice.cases] == [facts(case) for case in once.cases]


def test_slices_follow_their_position(samples: Path) -> None:
    (case,) = discover([samples / "mr_prone_sagittal_siemens"], Options()).cases
    assert case.grid is not None
    for source, index in zip(case.source.slices, case.slice_index, strict=True):
        position = pydicom.dcmread(source.path, stop_before_pixels=True).ImagePositionPatient
        there = case.grid.affine @ [0, 0, index, 1]
        assert np.allclose(there[:3], position, atol=1e-3)
    assert np.linalg.det(case.grid.affine) > 0


def test_a_missing_image_of_a_time_series_is_counted(samples: Path, tmp_path: Path) -> None:
    source = samples / "mr_time_series_ge"
    for path in sorted(source.iterdir())[1:]:
        shutil.copy(path, tmp_path)
    (case,) = discover([tmp_path], Options()).cases
    assert (case.category, case.outcome, case.codes) == ("4d", "refuse", ("R06",))
    assert "1 image is missing from " in case.findings[0].text


def test_the_incomplete_volume_is_named(samples: Path, tmp_path: Path) -> None:
    for path in (samples / "mr_two_echo_siemens").iterdir():
        if path.name != "e2_39.dcm":
            shutil.copy(path, tmp_path)
    (case,) = discover([tmp_path], Options()).cases
    assert dict(case.findings[0].values) == {"k": 1, "where": "volume 2 of 2"}


def test_progress_ends_with_all_files(samples: Path) -> None:
    told: list[int] = []
    scan = discover([samples / "dicomdir"], Options(), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == scan.files


def test_series_without_identity_are_told_apart_by_folder(
    write_image: Callable[..., Path], tmp_path: Path
) -> None:
    for folder in "ab":
        for z in range(3):
            write_image(f"{folder}/{z}", z, SeriesInstanceUID="")
    cases = discover([tmp_path], Options()).cases
    assert [case.source.files for case in cases] == [3, 3]
    assert all({"W01", "W19"} <= set(case.codes) for case in cases)
    assert len({case.case_id for case in cases}) == 2


def test_files_of_one_series_in_many_folders_belong_together(
    write_image: Callable[..., Path], tmp_path: Path
) -> None:
    for z in range(4):
        write_image(f"folder{z}/image", z)
    (case,) = discover([tmp_path], Options()).cases
    assert (case.category, case.source.files) == ("volume", 4)
