"""A training does not notice what happens to the test files: the weights keep their bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantoms


def trained(repository: Path, data: Path, output: Path) -> dict[str, torch.Tensor]:
    configs = repository / "bundles" / "left_atrium_mri_bcp" / "configs"
    files = [str(configs / f"{name}.yaml") for name in ("common", "pretrain", "demo")]
    line = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    line += ["--dataset_dir", str(data), "--manifest", str(data / "manifest.json")]
    line += ["--output_dir", str(output), "--pretrain_steps", "2", "--filters", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, check=False, cwd=repository, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    weights: dict[str, torch.Tensor] = torch.load(output / "pretrain/model.pt", weights_only=True)
    return weights


@pytest.mark.slow
def test_spoiled_and_deleted_test_files_change_nothing(repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_phantoms(data, count=6, shape=(32, 32, 32), labeled=2, validation=1, test=2)
    expected = trained(repository, data, tmp_path / "whole")
    first, second = load_manifest(data / "manifest.json").test
    for path in (first.image, first.label):
        (data / path).write_bytes(b"poison")
    for path in (second.image, second.label):
        (data / path).unlink()
    found = trained(repository, data, tmp_path / "spoiled")
    assert found.keys() == expected.keys()
    flat = [value for value in expected.values() if isinstance(value, torch.Tensor)]
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value), name
    assert flat
