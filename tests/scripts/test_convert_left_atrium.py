"""The converter's command, started as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK


def start(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "convert_left_atrium.py"
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for case_id in ("A", "B"):
        path = tmp_path / "source" / case_id / "mri_norm2.h5"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["image"] = generator.normal(size=(7, 6, 4)).astype(np.float32)
            file["label"] = generator.integers(0, 2, (7, 6, 4), dtype=np.uint8)
    return tmp_path / "source"


def test_hdf5(repository: Path, source: Path, tmp_path: Path) -> None:
    result = start(repository, source, tmp_path / "out", "--downsample", "2")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Spacing 0.625 mm by assumption" in result.stdout
    assert "2/2 B: 3 x 3 x 2" in result.stdout
    image = nibabel.load(tmp_path / "out/images/B.nii.gz")
    assert image.header.get_zooms() == (1.25, 1.25, 1.25)
    assert (tmp_path / "out/labels/A.nii.gz").is_file()

    result = start(repository, source, tmp_path / "full", "--spacing", "0.7")
    assert "Spacing 0.7 mm" in result.stdout
    assert nibabel.load(tmp_path / "full/images/A.nii.gz").shape == (7, 6, 4)


def test_nrrd(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "source/C").mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (8, 140, 150)).astype(np.uint8)
    label = np.zeros_like(image)
    label[2:5, 60:80, 60:80] = 255
    for name, array in (("lgemri.nrrd", image), ("laendo.nrrd", label)):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / "source/C" / name))
    result = start(repository, tmp_path / "source", tmp_path / "out", "--seed", "3")
    assert (result.returncode, result.stderr) == (0, "")
    assert "random margins (seed 3)" in result.stdout
    assert nibabel.load(tmp_path / "out/labels/C.nii.gz").get_fdata().sum() == 3 * 20 * 20
    refused = start(repository, tmp_path / "source", tmp_path / "out", "--spacing", "1")
    assert refused.returncode == 2
    assert "NRRD files have their own" in refused.stderr


def test_bad_input_is_one_sentence_and_exit_code_2(
    repository: Path, source: Path, tmp_path: Path
) -> None:
    (source / "B" / "mri_norm2.h5").write_bytes(b"nothing")
    for folder in (tmp_path / "absent", source):
        result = start(repository, folder, tmp_path / "out")
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert str(folder) in result.stderr
    assert not list((tmp_path / "out/images").glob("*B*"))
