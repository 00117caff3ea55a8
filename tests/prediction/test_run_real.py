"""Whole runs over real DICOM and NIfTI with a real, small network."""

from __future__ import annotations

import csv
import json
import os
import random
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from medsemi.prediction.console import Silent
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.run_json import VOLATILE_KEYS
from medsemi.prediction.summary import VOLATILE_COLUMNS

SCRIPT = Path(__file__).with_name("real_run.py")
REAL = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
contents = runpy.run_path(str(Path(__file__).with_name("case_files.py")))["contents"]
SETS = ("ct_tiny_volume", "ct_tilt_philips", "ct_gap_one_missing", "mr_two_echo_siemens", "broken")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(REAL.write_model(tmp_path_factory.mktemp("bundles") / "bundle"))


@pytest.fixture(scope="module")
def inputs(shared: Path) -> list[Path]:
    folder = shared / "data" / "dicom"
    return [*(folder / name for name in SETS), folder / "nifti" / "good.nii.gz"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, inputs: list[Path], model: Path) -> Path:
    """The results of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    assert predict(inputs, model, out, Options(device="cpu"), Silent()) == 2
    return out


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in VOLATILE_COLUMNS} for row in rows]


def start(model: Path, out: Path, inputs: list[Path], shard: str = "1/1") -> Any:
    command = [sys.executable, SCRIPT, model, out, shard, *inputs]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_folder_of_all_kinds(whole: Path) -> None:
    status = {row["case_id"]: row["status"] for row in summary(whole)}
    counts = {each: list(status.values()).count(each) for each in set(status.values())}
    assert counts["done"] == 5
    # The stack with a gap, and six damaged files: each may be a slice that a stack lacks.
    assert counts["refused"] == 7
    for row in summary(whole):
        files = {path.name for path in (whole / "cases" / row["case_id"]).iterdir()}
        if row["status"] == "done":
            assert {"seg.nii.gz", "volumes.csv", "preview.png", "case.json"} <= files
        else:
            assert files == {"case.json"}
    assert "<html" in (whole / "report.html").read_text()
    assert json.loads((whole / "run.json").read_text())["device"] == "cpu"


def test_a_second_run_needs_no_network_and_changes_nothing(
    tmp_path: Path, whole: Path, inputs: list[Path], model: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    good = [path for path in inputs if path.name not in ("broken", "ct_gap_one_missing")]
    before = {p: p.stat().st_mtime_ns for p in (out / "cases").rglob("*")}
    process = start(model, out, good)
    _, told = process.communicate()
    assert (process.returncode, told) == (0, "heavy: []\n")
    assert {p: p.stat().st_mtime_ns for p in (out / "cases").rglob("*")} == before
    run = json.loads((out / "run.json").read_text())
    assert run["counts"]["outcome"]["already"] == 5


@pytest.mark.slow
def test_workers_change_no_byte(
    tmp_path: Path, whole: Path, inputs: list[Path], model: Path
) -> None:
    for workers in (1, 8):
        out = tmp_path / str(workers)
        options = Options(device="cpu", workers=workers)
        assert predict(inputs, model, out, options, Silent()) == 2
        assert contents(out) == contents(whole)
        assert summary(out) == summary(whole)


@pytest.mark.slow
def test_shards_change_no_byte(
    tmp_path: Path, whole: Path, inputs: list[Path], model: Path
) -> None:
    out = tmp_path / "out"
    shards = [start(model, out, inputs, f"{index}/3") for index in (1, 2, 3)]
    deadline = time.monotonic() + 120
    while not list(out.glob("cases/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    shards[1].kill()
    for process in shards:
        process.communicate()
    start(model, out, inputs, "2/3").communicate()
    assert contents(out) == contents(whole)
    assert summary(out) == summary(whole)
    one, many = (json.loads((f / "run.json").read_text()) for f in (whole, out))
    assert {"start", "end"} == set(VOLATILE_KEYS)
    assert many["exit_code"] == one["exit_code"] == 2
    assert many["counts"]["status"] == one["counts"]["status"]


@pytest.mark.slow
def test_no_connection_is_opened(
    tmp_path: Path,
    whole: Path,
    inputs: list[Path],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("a connection was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    out = tmp_path / "out"
    assert predict(inputs, model, out, Options(device="cpu"), Silent()) == 2
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_twenty_kills_change_no_byte(
    tmp_path: Path, whole: Path, inputs: list[Path], model: Path
) -> None:
    out, expected = tmp_path / "out", contents(whole)
    began = time.monotonic()
    start(model, tmp_path / "timed", inputs).communicate()
    took, moments = time.monotonic() - began, random.Random(7)  # noqa: S311  (no secret)
    for _ in range(20):
        process = start(model, out, inputs)
        time.sleep(moments.uniform(0.3, 1.0) * took)
        process.kill()
        process.communicate()
        assert contents(out).items() <= expected.items()
        if len(list(out.glob("cases/[!.]*"))) == len(list(whole.glob("cases/*"))):
            shutil.rmtree(out)
    process = start(model, out, inputs)
    process.communicate()
    assert process.returncode == 2
    assert contents(out) == expected
    assert summary(out) == summary(whole)
    assert not list((out / "cases").glob(".*"))


def test_a_corrected_patient_reaches_the_seg(tmp_path: Path, shared: Path, model: Path) -> None:
    inputs = tmp_path / "in"
    shutil.copytree(shared / "data" / "dicom" / "ct_tiny_volume", inputs)
    out = tmp_path / "out"
    uids = set()
    for name in ("WRONG^NAME", "RIGHT^NAME"):
        for path in sorted(inputs.iterdir()):
            image = pydicom.dcmread(path, force=True)
            image.PatientName = name
            image.save_as(path)
        assert predict([inputs], model, out, Options(device="cpu"), Silent()) == 0
        (path,) = out.glob("cases/*/seg.dcm")
        seg = pydicom.dcmread(path)
        assert str(seg.PatientName) == name
        uids.add(seg.SOPInstanceUID)
    assert len(uids) == 2


def test_names_that_are_no_utf8_end_no_run(tmp_path: Path, shared: Path) -> None:
    """Of inputs, of the model and of the results, on a screen that takes nothing else."""
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    shutil.copy(shared / "data" / "dicom" / "nifti" / "good.nii.gz", folder)
    shutil.copy(folder / "good.nii.gz", folder / os.fsdecode(b"ct_\xe4.nii.gz"))
    (folder / os.fsdecode(b"\xf6.dcm")).write_bytes(b"no image")
    model = REAL.write_model(tmp_path / os.fsdecode(b"b\xfcndel"))
    out = tmp_path / os.fsdecode(b"\xfcber")
    command = [sys.executable, "-m", "medsemi.cli.main", "predict", folder, "--model", model]
    ended = subprocess.run(
        [*command, "--out", out, "--device", "cpu"],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, b"")
    assert b"report.html" in ended.stdout
    assert [row["status"] for row in summary(out)].count("done") == 2
    assert json.loads((out / "run.json").read_text())["bundle"]["name"] == "b\\udcfcndel"
    assert "model b\\udcfcndel" in (out / "run.log").read_text()


def test_a_patient_is_named_in_no_file_but_the_seg(
    tmp_path: Path, shared: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = tmp_path / "ZZTOP^SECRET" / "424242"
    inputs.mkdir(parents=True)
    for path in sorted((shared / "data" / "dicom" / "ct_tiny_volume").glob("*")):
        if path.suffix in (".dcm", ""):
            image = pydicom.dcmread(path, force=True)
            image.PatientName, image.PatientID = "ZZTOP^SECRET", "424242"
            image.SeriesDescription = "ZZTOP"
            image.save_as(inputs / f"424242_{path.name}")
    (inputs / "SECRET.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"garbage")
    out = tmp_path / "out"
    # 2: the volume is done, the damaged file is told.
    assert predict([tmp_path / "ZZTOP^SECRET"], model, out, Options(device="cpu"), Silent()) == 2
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "seg.dcm"]
    assert {"report.html", "summary.csv", "run.log", "case.json"} <= {path.name for path in files}
    shown = "".join(capfd.readouterr()).encode()
    for secret in (b"ZZTOP", b"SECRET", b"424242"):
        assert not [path.name for path in files if secret in path.read_bytes()], secret
        assert not [path for path in files if secret.decode() in str(path.relative_to(out))]
        assert secret not in shown
