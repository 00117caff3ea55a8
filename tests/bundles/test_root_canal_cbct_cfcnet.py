"""The root-canal bundle: its defaults, and its commands on a few small phantoms."""

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
import torch
import yaml

from medsemi.data.root_canal_phantom import make_root_canal_phantoms
from medsemi.networks.vnet import VNet
from medsemi.prediction.bundle_network import load_network
from medsemi.prediction.model import load_model
from medsemi.training.checkpoint import save_weights

CONFIGS = Path(__file__).parents[2] / "bundles" / "root_canal_cbct_cfcnet" / "configs"


def config(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("overlay", ["train", "small", "phantom"])
def test_the_blocks_of_the_mix_divide_the_window(overlay: str) -> None:
    settings = config("common") | config("train") | config(overlay)
    assert all(edge % settings["mix_blocks"] == 0 for edge in settings["window"])
    assert all(
        step <= edge / 2 for step, edge in zip(settings["stride"], settings["window"], strict=True)
    )


def test_training_and_prediction_prepare_an_image_alike() -> None:
    promised = json.loads((CONFIGS / "metadata.json").read_text())["medsemi"]
    for name, key in (("common", "preprocessing"), ("inference", "inference_preprocessing")):
        transforms = {t["_target_"].rpartition(".")[2]: t for t in config(name)[key]["transforms"]}
        assert transforms["Spacingd"]["pixdim"] == promised["spacing"]
        scaling = transforms["ScaleIntensityRanged"]
        assert scaling["clip"] is True
        assert [scaling["a_min"], scaling["a_max"]] == promised["intensity"]["clip"]
        assert [scaling["b_min"], scaling["b_max"]] == promised["intensity"]["clip"]
        assert promised["intensity"]["norm"] == "zscore"
        assert list(transforms)[-1] == "NormalizeIntensityd"


def test_the_bundle_itself_is_predicted_with_once_weights_lie_in_it(tmp_path: Path) -> None:
    bundle = shutil.copytree(CONFIGS.parent, tmp_path / "bundle")
    settings = config("common")
    network = VNet(filters=settings["filters"], norm=settings["norm"])
    (bundle / "models").mkdir()
    save_weights(bundle / "models" / "model.pt", network)
    model = load_model(bundle)
    assert (model.spacing, model.intensity.norm) == ((0.25, 0.25, 0.25), "zscore")
    loaded = load_network(model)
    assert loaded.plan.size == tuple(settings["window"])
    assert loaded.plan.weighting == "gaussian"
    assert torch.equal(loaded.network.decoder.out_conv.weight, network.decoder.out_conv.weight)


def run(command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command, *options],
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=CONFIGS.parents[2],
        capture_output=True, text=True,
    )  # fmt: skip


def stage(
    name: str, data: Path, output: Path, *options: str, overlays: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    files = [str(CONFIGS / f"{part}.yaml") for part in ("common", name, "phantom", *overlays)]
    line = ["monai.bundle", "run", "--config_file", str(files), "--dataset_dir", str(data)]
    tiny = ("--filters", "2", "--pretrain_steps", "2", "--train_steps", "2")
    return run(line, *tiny, "--stride", "[32,32,32]", "--output_dir", str(output), *options)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_root_canal_phantoms(
        folder, 4, (28, 28, 34), (0.5, 0.5, 0.5), labeled=1, validation=1, test=1, neighbors=0
    )
    return folder


@pytest.mark.slow
def test_every_network_is_trained_scored_and_predicted_with(phantoms: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("pretrain", "train", "evaluate"):
        done = stage(name, phantoms, runs, *(["--deployed", "students"] if name == "train" else []))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    networks = {"student_low", "student_high", "students", "teacher"}
    assert {p.stem for p in (runs / "train").glob("*.pt")} >= networks | {"model", "last"}
    with (runs / "evaluate" / "train_validation" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["network"] for row in rows} == networks
    assert {"centerline_dice", "canals_found", "apical_reach_mm"} <= set(rows[0])
    with (runs / "train" / "history.csv").open() as file:
        reported = {row["name"] for row in csv.DictReader(file)}
    assert reported >= {f"val/dice_{name}" for name in networks} | {
        "val/teacher_gap", "teacher_collapsed", "student_agreement", "labeled_foreground",
        "pseudo_foreground_low", "pseudo_foreground_high", "pseudo_foreground_teacher",
    }  # fmt: skip

    image = sorted((phantoms / "images").glob("*.nii.gz"))[0]
    done = run(
        ["medsemi", "predict", str(image)],
        *("--model", str(runs / "train" / "bundle"), "--out", str(tmp_path / "results")),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = (tmp_path / "results").rglob("*seg*.nii.gz")
    source, result = nibabel.load(image), nibabel.load(found)
    assert result.shape == source.shape
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-5)

    done = stage("inference", phantoms, runs)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    written = sorted((runs / "inference").glob("*_seg.nii.gz"))
    assert len(written) == 4
    # The same two students, which the file of the workflow and the bundle describe otherwise.
    bundle = runs / "train" / "bundle"
    files = [str(bundle / "configs" / f"{part}.yaml") for part in ("common", "inference")]
    options = ("--bundle_root", str(bundle), "--dataset_dir", str(phantoms))
    line = ["monai.bundle", "run", "--config_file", str(files), *options]
    done = run(line, "--output_dir", str(tmp_path / "again"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for path in written:
        again = tmp_path / "again" / "inference" / path.name
        assert np.array_equal(nibabel.load(again).dataobj, nibabel.load(path).dataobj)
    refused = stage("evaluate", phantoms, runs, "--levels_high", "3")
    assert refused.returncode == 2
    assert "levels_high was 2, is 3" in refused.stderr


@pytest.mark.slow
def test_two_networks_start_apart_and_teach_each_other(phantoms: Path, tmp_path: Path) -> None:
    second = ("--stage", "pretrain_second", "--seed", "7")
    for name, options in (("pretrain", ()), ("pretrain", second), ("train", ())):
        done = stage(name, phantoms, tmp_path, *options, overlays=("two_networks",))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    train, name = tmp_path / "train", "encoder.block_one.conv.0.weight"
    starts = [weights(tmp_path / part / "model.pt") for part in ("pretrain", "pretrain_second")]
    students = [weights(train / f"{part}.pt") for part in ("student_low", "student_high")]
    teacher = weights(train / "teacher.pt")
    assert not torch.allclose(starts[0][name], starts[1][name], atol=0.1)
    for start, student, part in zip(starts, students, ("first", "second"), strict=True):
        torch.testing.assert_close(student[f"network.{name}"], start[name], atol=0.05, rtol=0)
        torch.testing.assert_close(teacher[f"{part}.{name}"], start[name], atol=0.05, rtol=0)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)
