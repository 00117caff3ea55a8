"""The left-atrium bundle: published defaults, and its commands on phantoms."""

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

from medsemi.data.phantoms import make_phantoms

CONFIGS = Path(__file__).parents[2] / "bundles" / "left_atrium_mri_bcp" / "configs"


def config(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def test_defaults_are_the_published_ones() -> None:
    common, train = config("common"), config("train")
    assert common["window"] == [112, 112, 80]
    assert (common["filters"], common["norm"], common["dropout"]) == (16, "batch", 0.5)
    assert (common["labeled_windows"], train["unlabeled_windows"]) == (4, "$@labeled_windows")
    assert (common["learning_rate"], common["momentum"], common["weight_decay"]) == (
        0.01,
        0.9,
        1e-4,
    )
    assert (common["pretrain_steps"], common["train_steps"]) == (2000, 15000)
    assert common["hole_ratio"] == 2 / 3
    assert (train["pseudo_weight"], train["ema_decay"]) == (0.5, 0.99)
    assert (train["teacher_mode"], train["ema_buffers"]) == ("train", "keep")
    assert (train["decay_factor"], train["decay_every"]) == (0.1, 2500)
    assert common["published_stride"] == [18, 18, 4]


def test_small_is_what_it_says() -> None:
    small = config("small")
    assert (small["window"], small["filters"]) == ([64, 64, 32], 8)
    assert (small["pretrain_steps"], small["train_steps"]) == (600, 1800)


def bundle(command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "monai.bundle", *command, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = CONFIGS.parents[2]
    return subprocess.run(
        line, check=False, env=environment, cwd=root, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_phantoms(folder, count=8, shape=(32, 32, 32), labeled=2, validation=1, test=2)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "one"


def run(stage: str, data: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    files = [str(CONFIGS / f"{name}.yaml") for name in ("common", stage, "demo")]
    line = ["run", "--config_file", str(files), "--dataset_dir", str(data)]
    line += ["--manifest", str(data / "manifest.json"), "--output_dir", str(output)]
    small = ("--pretrain_steps", "3", "--train_steps", "3", "--filters", "2")
    return bundle(line, *small, *options)


@pytest.mark.slow
def test_the_stages_run_one_after_the_other(phantoms: Path, runs: Path) -> None:
    for stage in ("pretrain", "train", "evaluate", "inference"):
        done = run(stage, phantoms, runs)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {p.name for p in (runs / "train").glob("*.pt")} >= {
        "student.pt",
        "teacher.pt",
        "last.pt",
    }
    with (runs / "evaluate" / "train_validation_fast" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["network"] for row in rows} == {"student", "teacher"}
    images = sorted((phantoms / "images").glob("*.nii.gz"))
    for image in images:
        source = nibabel.load(image)
        result = nibabel.load(runs / "inference" / image.name.replace(".nii.gz", "_seg.nii.gz"))
        assert result.shape == source.shape
        np.testing.assert_allclose(result.affine, source.affine, atol=1e-5)
    trainings = {
        json.loads((runs / stage / "run.json").read_text())["tags"]["medsemi.training"]
        for stage in ("pretrain", "train", "evaluate/train_validation_fast")
    }
    assert len(trainings) == 1


def losses(folder: Path) -> list[float]:
    """Of the three steps of a stage."""
    with (folder / "history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "loss"]
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    return [float(row["value"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(1, marks=pytest.mark.gpu)])
def test_processes_share_one_training(
    phantoms: Path, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`multi_gpu.yaml` under torchrun: two with gloo on the CPU, one with NCCL where there is a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0" if processes == 1 else "")
    for stage in ("pretrain", "train"):
        files = [str(CONFIGS / f"{name}.yaml") for name in ("common", stage, "demo", "multi_gpu")]
        options = ["--config_file", str(files), "--dataset_dir", str(phantoms), "--filters", "2"]
        options += ["--manifest", str(phantoms / "manifest.json")]
        options += ["--pretrain_steps", "3", "--train_steps", "3"]
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        line += ["--nproc_per_node", str(processes), "-m", "monai.bundle", "run", *options]
        done = subprocess.run(
            [*line, "--output_dir", str(tmp_path / "shared")],
            check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=CONFIGS.parents[2],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    assert len(losses(tmp_path / "shared" / "train")) == 3
    assert run("pretrain", phantoms, tmp_path / "one").returncode == 0
    alone, shared = (losses(tmp_path / name / "pretrain") for name in ("one", "shared"))
    # The first rank starts from the same weights and windows; the ranks then average gradients.
    assert alone[0] == pytest.approx(shared[0], rel=1e-5 if processes > 1 else 1e-2)
    if processes > 1:
        assert alone[1] != pytest.approx(shared[1], rel=1e-5)


@pytest.mark.slow
def test_bad_input_ends_in_one_sentence(phantoms: Path, tmp_path: Path) -> None:
    (phantoms / "manifest.json").read_text()
    wrong = {
        "a name that does not exist": (("--pseudo_wight", "1.0"), "pseudo_weight"),
        "a protocol that does not exist": (("--protocol", "publishd"), "take fast or published"),
        "a folder that does not exist": (("--dataset_dir", str(tmp_path / "no")), "phantom"),
    }
    for options, word in wrong.values():
        done = run(
            "evaluate" if "--protocol" in options else "train", phantoms, tmp_path / "run", *options
        )
        assert done.returncode == 2
        assert word in done.stderr
        assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_exports_equal_torch(phantoms: Path, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    from medsemi.networks.vnet import VNet
    from medsemi.training.checkpoint import save_weights

    torch.manual_seed(0)
    network = VNet(filters=2).eval()
    save_weights(tmp_path / "model.pt", network)
    meta = ["--meta_file", str(CONFIGS / "metadata.json")]
    files = ["--config_file", str(CONFIGS / "common.yaml"), "--filters", "2"]
    weights = ["--ckpt_file", str(tmp_path / "model.pt"), "--input_shape", "[1,1,32,32,32]"]
    assert bundle(["verify_net_in_out", "network_def"], *meta, *files, "--n", "2").returncode == 0
    onnx, script = tmp_path / "model.onnx", tmp_path / "model.ts"
    for verb, path in (("onnx_export", onnx), ("ckpt_export", script)):
        done = bundle([verb, "network_def"], "--filepath", str(path), *meta, *files, *weights)
        assert done.returncode == 0, done.stderr[-2000:]
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = network(image).numpy()
        scripted = torch.jit.load(script)(image).numpy()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(exported, expected, atol=1e-4)
    np.testing.assert_allclose(scripted, expected, atol=1e-5)
