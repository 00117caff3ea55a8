"""Own data, laid out as nnU-Net, become a trained and predicted result without any Python."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsemi.data.phantoms import make_phantoms

BUNDLES = Path(__file__).parents[2] / "bundles"
OVERLAY = """\
spacing: [1.0, 1.0, 1.25]
clip: [-2.0, 4.0]
intensity_norm: zscore
window: [32, 32, 32]
stride: [16, 16, 16]
filters: 2
pretrain_steps: 2
train_steps: 2
"""


@pytest.mark.parametrize(
    "name", ["pretrain", "train", "supervised", "evaluate", "demo", "multi_gpu", "recipe"]
)
def test_the_workflows_are_those_of_the_left_atrium(name: str) -> None:
    files = [
        BUNDLES / bundle / "configs" / f"{name}.yaml"
        for bundle in ("any_organ_bcp", "left_atrium_mri_bcp")
    ]
    assert files[0].read_text() == files[1].read_text()


def as_nnunet(folder: Path, data: Path) -> None:
    """Two structures; images with an unusual orientation; six of eight have labels."""
    (data / "imagesTr").mkdir(parents=True)
    (data / "labelsTr").mkdir()
    for number, path in enumerate(sorted((folder / "images").glob("*.nii.gz"))):
        image, label = nibabel.load(path), nibabel.load(folder / "labels" / path.name)
        affine = np.diag([-1.0, 1.0, 1.5, 1.0])
        values = image.get_fdata(dtype=np.float32)
        saved = nibabel.Nifti1Image(values, affine)
        nibabel.save(saved, data / "imagesTr" / f"knee_{number:03d}_0000.nii.gz")
        if number < 6:
            classes = np.asarray(label.dataobj).astype(np.uint8)
            classes[:, :, 16:] *= 2
            saved = nibabel.Nifti1Image(classes, affine)
            nibabel.save(saved, data / "labelsTr" / f"knee_{number:03d}.nii.gz")
    labels = {"background": 0, "lower": 1, "upper": 2}
    text = json.dumps({"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 6})
    (data / "dataset.json").write_text(text)


def run(repository: Path, *line: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, *line],
        check=False, cwd=repository, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]


@pytest.mark.slow
def test_from_a_folder_of_nnunet_to_a_prediction(repository: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "p", count=8, shape=(32, 32, 32), labeled=2, validation=1, test=1)
    data, runs = tmp_path / "data", tmp_path / "runs"
    as_nnunet(tmp_path / "p", data)
    (tmp_path / "my_data.yaml").write_text(OVERLAY)
    counts = ("--labeled", "4", "--validation", "1", "--test", "1", "--one-case-per-patient")
    manifest = str(tmp_path / "manifest.json")
    run(repository, "scripts/make_manifest.py", str(data), "--output", manifest, *counts)
    for stage in ("pretrain", "train", "evaluate"):
        configs = BUNDLES / "any_organ_bcp" / "configs"
        files = [str(configs / f"{name}.yaml") for name in ("common", stage, "recipe")]
        line = ["-m", "monai.bundle", "run", "--config_file"]
        line += [str([*files, str(tmp_path / "my_data.yaml")]), "--dataset_dir", str(data)]
        run(repository, *line, "--manifest", manifest, "--output_dir", str(runs))
    scores = (runs / "evaluate" / "train_validation_fast" / "cases.csv").read_text()
    assert ",average," in scores
    summary = (runs / "evaluate" / "train_validation_fast" / "summary.json").read_text()
    assert "interpolated" in json.loads(summary)["conventions"]["grid"]  # the plan resamples
    bundle = runs / "train" / "bundle"
    contract = json.loads((bundle / "configs" / "metadata.json").read_text())["medsemi"]
    assert contract["spacing"] == [1.0, 1.0, 1.25]
    assert contract["intensity"] == {"clip": [-2.0, 4.0], "norm": "zscore", "background": None}
    assert [entry["name"] for entry in contract["labels"].values()] == ["lower", "upper"]
    (tmp_path / "new").mkdir()
    shutil.copy(data / "imagesTr" / "knee_007_0000.nii.gz", tmp_path / "new" / "scan.nii.gz")
    options = ["--model", str(bundle), "--out", str(tmp_path / "results")]
    run(repository, "-m", "medsemi", "predict", str(tmp_path / "new"), *options)
    (record,) = (tmp_path / "results").rglob("case.json")
    (result,) = record.parent.glob("*.nii.gz")
    assert nibabel.load(result).shape == (32, 32, 32)
    assert set(np.unique(nibabel.load(result).dataobj)) <= {0, 1, 2}
    assert_scores_are_of_what_predict_writes(repository, data, runs, tmp_path)


def assert_scores_are_of_what_predict_writes(
    repository: Path, data: Path, runs: Path, tmp_path: Path
) -> None:
    with (runs / "evaluate" / "train_validation_fast" / "cases.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["network"] == "average"]
    case = rows[0]["case_id"]
    (image,) = (data / "imagesTr").glob(f"{case}_0000.nii.gz")
    options = ["--model", str(runs / "train" / "bundle"), "--out", str(tmp_path / "again")]
    run(repository, "-m", "medsemi", "predict", str(image), *options)
    (result,) = (tmp_path / "again" / "cases").glob("*/seg.nii.gz")
    ours = np.asarray(nibabel.load(result).dataobj)
    true = np.asarray(nibabel.load(data / "labelsTr" / f"{case}.nii.gz").dataobj)
    names = json.loads((data / "dataset.json").read_text())["labels"]
    for row in rows:
        label = names[row["class"]]
        overlap, total = ((ours == label) & (true == label)).sum(), (ours == label).sum()
        dice = 2 * overlap / (total + (true == label).sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-3)
