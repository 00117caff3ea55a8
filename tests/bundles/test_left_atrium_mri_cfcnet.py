"""CFC-Net on the left atrium: on equal footing with the bundle that it is compared with."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medsemi.data.phantoms import make_phantoms

BUNDLES = Path(__file__).parents[2] / "bundles"
EQUAL = {
    "common": (
        "window", "filters", "dropout", "learning_rate", "momentum", "weight_decay", "flip_rule",
        "pretrain_steps", "train_steps", "val_interval", "stride", "published_stride", "manifest",
        "network_def", "preprocessing",
    ),
    "train": ("steps", "initial_weights", "decay_factor", "decay_every"),
    "supervised": ("steps", "decay_factor", "decay_every"),
    "small": (
        "window", "filters", "pretrain_steps", "train_steps", "val_interval", "stride",
        "published_stride",
    ),
    "recipe": (
        "norm", "dropout", "optimizer_name", "learning_rate", "weight_decay", "schedule_rule",
        "warmup_steps", "gradient_clip", "weight_average", "flip_rule", "foreground_probability",
        "geometry_probability", "intensity_probability",
    ),
}  # fmt: skip


def config(bundle: str, name: str) -> dict:
    return yaml.safe_load((BUNDLES / bundle / "configs" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", EQUAL)
def test_it_has_the_footing_of_the_bundle_that_it_is_compared_with(name: str) -> None:
    ours, theirs = config("left_atrium_mri_cfcnet", name), config("left_atrium_mri_bcp", name)
    assert {key: ours[key] for key in EQUAL[name]} == {key: theirs[key] for key in EQUAL[name]}


def test_the_network_has_no_statistics_of_views() -> None:
    assert config("left_atrium_mri_cfcnet", "common")["norm"] == "instance"


@pytest.mark.parametrize("overlay", ["train", "small", "demo"])
def test_the_blocks_of_the_mix_divide_the_window(overlay: str) -> None:
    bundle = "left_atrium_mri_cfcnet"
    settings = config(bundle, "common") | config(bundle, "train") | config(bundle, overlay)
    blocks = settings["mix_blocks"]
    blocks = [blocks] * 3 if isinstance(blocks, int) else blocks
    assert [edge % n for edge, n in zip(settings["window"], blocks, strict=True)] == [0, 0, 0]


@pytest.mark.slow
def test_two_teachers_are_trained_scored_and_deployed(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "runs"
    make_phantoms(data, count=4, shape=(32, 32, 32), labeled=1, validation=1, test=1)
    configs = BUNDLES / "left_atrium_mri_cfcnet" / "configs"
    for stage in ("pretrain", "train", "evaluate"):
        files = [str(configs / f"{name}.yaml") for name in ("common", stage, "demo")]
        line = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
        line += ["--dataset_dir", str(data), "--manifest", str(data / "manifest.json")]
        line += ["--output_dir", str(output), "--filters", "2"]
        line += ["--pretrain_steps", "2", "--train_steps", "2"]
        line += ["--teacher_rule", "two"] if stage == "train" else []
        done = subprocess.run(
            line, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=BUNDLES.parent,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with (output / "evaluate" / "train_validation_fast" / "cases.csv").open() as file:
        networks = {row["network"] for row in csv.DictReader(file)}
    assert networks == {"student_low", "student_high", "students", "teacher"}
    deployed = yaml.safe_load((output / "train" / "bundle" / "configs" / "common.yaml").read_text())
    assert deployed["network_def"]["_target_"].endswith("NetworkPair")
