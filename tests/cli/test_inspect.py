"""The command inspect: a table for people, a document for programs, nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medsemi.cli.inspect import printable
from medsemi.cli.main import main
from medsemi.data.dicom_series import write_dicom_series

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def samples(shared: Path) -> Path:
    return shared / "data" / "dicom"


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["inspect", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_table_with_a_sentence_for_each_code(samples: Path, inspect: Run) -> None:
    code, out, _ = inspect(samples / "ct_gap_one_missing", samples / "ct_tilt_philips")
    assert code == 0
    lines = out.splitlines()
    gap = next(line for line in lines if " gaps " in line)
    assert {"CT", "64×64", "27", "3.61", "refuse", "R01"} <= set(gap.split())
    case_id = gap.split()[0]
    (sentence,) = (line for line in lines if line.startswith(f"{case_id} R01 "))
    assert sentence.startswith(f"{case_id} R01 1 slice is missing after slice 10 (at 746.2 mm).")
    assert lines[-1].startswith("2 cases in 41 files: 1 would be predicted, 0 skipped, 1 refused")


def test_a_piped_table_is_not_folded(samples: Path, inspect: Run, tmp_path: Path) -> None:
    name = "x" * 200 + ".nii"
    (tmp_path / name).write_bytes((samples / "nifti" / "uncompressed.nii").read_bytes())
    _, out, _ = inspect(tmp_path)
    assert any(name in line for line in out.splitlines())
    assert "\x1b" not in out


def test_files_and_results_that_are_passed_over_are_told_apart(
    samples: Path, inspect: Run, tmp_path: Path
) -> None:
    shutil.copy(samples / "nifti" / "good.nii.gz", tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "results" / "cases").mkdir(parents=True)
    (tmp_path / "results" / "run.json").write_text('{"schema": "medsemi.run/1"}')
    assert inspect(tmp_path)[1].splitlines()[-2:] == [
        "S01 Ignored: not a medical image file. notes.txt",
        "S14 Passed over: a folder with results of predict, which are no scans. results",
    ]


def test_one_document_for_programs(samples: Path, inspect: Run) -> None:
    code, out, _ = inspect(samples / "dicomdir", "--json")
    document = json.loads(out)
    assert (code, document["schema"]) == (0, "medsemi.inspect/1")
    assert document["totals"] == {"predict": 1, "skip": 11, "refuse": 1, "ignored_files": 1}
    assert document["ignored"][0]["name"] == "DICOMDIR"
    volume = next(case for case in document["cases"] if case["outcome"] == "predict")
    assert volume["source"]["name"] == "98892001/CT5N/2062"
    assert volume["grid"]["shape"] == [16, 16, 5]
    assert np.array(volume["grid"]["affine_lps"]).shape == (4, 4)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nothing_that_identifies_a_patient_is_shown(
    form: tuple[str, ...], inspect: Run, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).normal(size=(8, 8, 12))
    for path in write_dicom_series(tmp_path, values, np.eye(4), "secret"):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "ZZTOP^SECRET", "424242"
        dataset.SeriesDescription, dataset.StudyDate = "for Mr. ZZTOP", "20200131"
        dataset.save_as(path)
        uids = [dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.SOPInstanceUID]
    code, out, err = inspect(tmp_path, *form)
    assert code == 0
    for secret in ("ZZTOP", "424242", "20200131", str(tmp_path), *uids):
        assert secret not in out + err


def test_options_are_those_of_predict(samples: Path, inspect: Run) -> None:
    def outcome(*arguments: str) -> str:
        return json.loads(inspect(*arguments, "--json")[1])["cases"][0]["outcome"]

    gap, tilt = str(samples / "ct_gap_one_missing"), str(samples / "ct_tilt_philips")
    assert (outcome(gap), outcome(gap, "--gaps", "fill")) == ("refuse", "predict")
    assert (outcome(tilt), outcome(tilt, "--tilt", "refuse")) == ("predict", "refuse")
    assert outcome(tilt, "--strict") == "refuse"
    document = json.loads(
        inspect(samples / "nifti" / "good.nii.gz", "--names", "hash", "--json")[1]
    )
    assert document["cases"][0]["case_id"] != "good"


def test_usage_errors_end_with_1(inspect: Run, tmp_path: Path, samples: Path) -> None:
    assert inspect(tmp_path / "absent")[0] == 1
    code, out, err = inspect(tmp_path)
    assert (code, out) == (1, "")
    assert (
        f"E12 No input files found: no DICOM, NIfTI, NRRD or MetaImage file is in {tmp_path.name};"
        in err
    )
    assert inspect(samples / "ct_axial_ffs", "--model", tmp_path)[0] == 1
    assert inspect(samples / "ct_axial_ffs", "--series", "1.2.3")[0] == 1
    assert inspect("--gaps", "maybe", samples)[0] == 1


def test_a_model_tells_what_does_not_fit(samples: Path, inspect: Run, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"")
    contract = {"modality": ["MR"], "labels": {"1": {"name": "organ"}}}
    metadata = {"version": "1", "medsemi": contract}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    _, out, _ = inspect(samples / "ct_axial_noext", "--model", tmp_path)
    assert "S08 Modality CT is not what this model expects (MR)" in out


def test_nothing_is_written(samples: Path, inspect: Run, tmp_path: Path) -> None:
    (tmp_path / "image.nii").write_bytes((samples / "nifti" / "uncompressed.nii").read_bytes())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    inspect(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_name_cannot_move_the_cursor(samples: Path, inspect: Run, tmp_path: Path) -> None:
    good = (samples / "nifti" / "uncompressed.nii").read_bytes()
    names = (b"a\x1b[2Jb.nii", b"[red]c.nii", b"\xff.nii")
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  (a name of bytes)
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(good)
    code, out, _ = inspect(tmp_path)
    assert code == 0
    assert "\x1b" not in out
    assert "[red]c.nii" in out
    assert len(json.loads(inspect(tmp_path, "--json")[1])["cases"]) == len(names)
    assert printable("a\x1b\udcff\n×") == "a" + "\N{REPLACEMENT CHARACTER}" * 3 + "×"


def test_help_is_quick(samples: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "medsemi.cli.main", "inspect", "--help"]
    told = subprocess.run(command, check=True, capture_output=True).stderr.decode()
    assert not [name for name in ("numpy", "pydicom", "torch", "rich") if f" {name}\n" in told]
