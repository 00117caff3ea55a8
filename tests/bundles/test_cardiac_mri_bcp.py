"""The cardiac bundle: published settings, and its commands on a few small stacks of slices."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "bundles" / "cardiac_mri_bcp" / "configs"
CLASSES = ["background", "right ventricle", "myocardium", "left ventricle"]


def config(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def test_settings_of_the_method_are_the_published_ones() -> None:
    common, pretrain, train = config("common"), config("pretrain"), config("train")
    assert (common["window"], common["filters"], common["dropout"]) == ([256, 256], 16, 1.0)
    assert (common["labeled_windows"], train["unlabeled_windows"]) == (12, "$@labeled_windows")
    assert (common["learning_rate"], common["momentum"], common["weight_decay"]) == (
        0.01,
        0.9,
        1e-4,
    )
    assert (common["pretrain_steps"], common["train_steps"]) == (10000, 30000)
    assert (common["dice"], common["hole_ratio"], pretrain["loss"]) == ("squared", 2 / 3, "regions")
    assert (train["pseudo_weight"], train["ema_decay"]) == (0.5, 0.99)
    assert (train["teacher_mode"], train["ema_buffers"]) == ("train", "average")
    assert (train["component_filter"], train["connectivity"]) == (True, None)
    assert common["network_def"]["_target_"] == "medsemi.networks.unet2d.UNet2D"
    assert common["network_def"]["out_channels"] == 4


def test_classes_are_those_of_the_manifests(repository: Path) -> None:
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    names = [label["name"] for label in metadata["medsemi"]["labels"].values()]
    for labeled in (3, 7, 14):
        path = repository / "data_manifests" / f"cardiac_{labeled}_labeled.json"
        assert list(json.loads(path.read_text())["classes"].values()) == CLASSES
    assert ["background", *names] == CLASSES
    assert (
        list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()) == CLASSES
    )


def make_stack(folder: Path, case: str, seed: int) -> None:
    """A ring (myocardium) around a disk (left ventricle) beside a disk (right ventricle)."""
    random = np.random.default_rng(seed)
    x, y, _ = np.indices((20, 24, 4))
    cx, cy = random.integers(11, 14), random.integers(9, 14)
    far = np.hypot(x - cx, y - cy)
    label = np.zeros(x.shape, np.uint8)
    label[np.hypot(x - cx + 6, y - cy) < 3] = 1
    label[far < 4.5] = 2
    label[far < 2.5] = 3
    values = np.array([100, 700, 300, 800])[label] + random.normal(0, 30, x.shape)
    affine = np.diag([-2.0, -2.0, 10.0, 1.0])
    for kind, array in (("images", values.astype(np.int16)), ("labels", label)):
        (folder / kind).mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / kind / f"{case}.nii.gz")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    roles: dict[str, list] = {"labeled": [], "unlabeled": [], "validation": []}
    for number, role in enumerate(("labeled", "unlabeled", "validation"), 1):
        for frame in (1, 2):
            case = f"patient{number:03d}_frame{frame:02d}"
            make_stack(folder, case, 10 * number + frame)
            roles[role].append({"case": case, "patient": case[:10]})
    manifest = {
        "name": "stacks",
        "classes": {str(value): name for value, name in enumerate(CLASSES)},
        "image": "images/{case}.nii.gz",
        "label": "labels/{case}.nii.gz",
        **roles,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run(stage: str, data: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    files = [str(CONFIGS / f"{name}.yaml") for name in ("common", stage)]
    line = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    line += ["--dataset_dir", str(data), "--manifest", str(data / "manifest.json")]
    line += ["--output_dir", str(output), "--window", "[16,16]", "--stride", "[8,8]"]
    line += ["--filters", "2", "--labeled_windows", "4", "--pretrain_steps", "2"]
    line += ["--train_steps", "2", *options]
    done = subprocess.run(
        line, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=CONFIGS.parents[2],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    run("pretrain", data, folder)
    run("train", data, folder, "--unlabeled_windows", "4")
    return folder


@pytest.mark.slow
def test_evaluation_is_by_case_and_class_on_the_grid_of_the_file(data: Path, runs: Path) -> None:
    run("evaluate", data, runs)
    folder = runs / "evaluate" / "train_validation_windows"
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = {
        (f"patient003_frame{frame:02d}", network, name)
        for frame in (1, 2)
        for network in ("student", "teacher")
        for name in CLASSES[1:]
    }
    assert {(row["case_id"], row["network"], row["class"]) for row in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.slow
def test_published_windows_and_inference_run_as_well(data: Path, tmp_path: Path) -> None:
    published = ("--window_rule", "stretch", "--protocol", "published")
    run("supervised", data, tmp_path, *published)
    run("evaluate", data, tmp_path, *published, "--evaluated", "supervised")
    assert (tmp_path / "evaluate" / "supervised_validation_published" / "summary.json").is_file()


@pytest.mark.slow
def test_inference_keeps_the_grid_of_the_file(data: Path, runs: Path) -> None:
    run("inference", data, runs)
    for path in sorted((data / "images").glob("*.nii.gz")):
        source = nibabel.load(path)
        name = path.name.replace(".nii.gz", "_seg.nii.gz")
        result = nibabel.load(runs / "inference" / name)
        assert result.shape == source.shape
        np.testing.assert_allclose(result.affine, source.affine, atol=1e-5)
