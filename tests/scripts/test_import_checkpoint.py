"""A published checkpoint becomes the weights of a bundle; nothing that lies there is overwritten."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from medsemi.data.held_out import refuse_held_out_in_origin, training_of
from medsemi.data.manifest import load_manifest
from medsemi.errors import CheckpointError, ConfigError, OutputError
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.training.checkpoint import load_weights
from medsemi.training.exported import load_exported

ATRIUM = "bundles/left_atrium_mri_bcp"


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    path = repository / "scripts" / "import_checkpoint.py"
    found = importlib.util.spec_from_file_location("import_checkpoint", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def four_filters(tmp_path: Path) -> str:
    path = tmp_path / "four.yaml"
    path.write_text("# overlay of: common.yaml\nfilters: 4\n")
    return str(path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As the published pre-training writes it."""
    torch.manual_seed(7)
    path = tmp_path / "best_model.pth"
    torch.save(
        {"net": VNet(filters=4).state_dict(), "opt": {"state": {}, "param_groups": []}}, path
    )
    return path


def published_network(golden: Path, path: Path) -> tuple[Tensor, Tensor]:
    """Write the weights of a network of the published code; return an image and its logits."""
    with np.load(golden / "vnet_nf4_eval.npz") as stored:
        weights = {
            key.removeprefix("sd/"): torch.from_numpy(stored[key])
            for key in stored.files
            if key.startswith("sd/")
        }
        torch.save(weights, path)
        return torch.from_numpy(stored["input"]).float(), torch.from_numpy(stored["logits"])


def test_a_network_of_the_published_code_computes_the_same_after_the_import(
    script: ModuleType,
    repository: Path,
    golden: Path,
    tmp_path: Path,
    four_filters: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, expected = published_network(golden, tmp_path / "published.pth")
    output = tmp_path / "runs" / "train"
    arguments = [str(tmp_path / "published.pth"), str(output), "--overlay", four_filters]
    assert script.main([*arguments, "--bundle", str(repository / ATRIUM)]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "205 entries loaded, 54 of unused heads dropped, 0 renamed" in told
    assert sorted(path.name for path in output.iterdir()) == ["model.pt", "student.pt"]
    scored = load_exported(output, VNet(filters=4), {}, "cpu")  # as evaluate.yaml does
    assert list(scored) == ["student"]
    deployed = load_weights(VNet(filters=4), output / "model.pt")  # as --initial_weights does
    with torch.no_grad():
        for network in (scored["student"], deployed):
            torch.testing.assert_close(network.eval()(image), expected, atol=1e-4, rtol=0)


def test_the_cardiac_and_the_pancreas_network_are_imported(
    script: ModuleType,
    repository: Path,
    golden: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pancreas = tmp_path / "pancreas.yaml"
    pancreas.write_text("norm: instance\nnetwork_def::norm_affine: false\n")
    published = json.loads((golden / "state_dict_keys.json").read_text())
    networks = {
        "unet2d_acdc": (UNet2D(), ["--bundle", str(repository / "bundles/cardiac_mri_bcp")]),
        "vnet_pancreas": (
            VNet(norm="instance", norm_affine=False),
            ["--bundle", str(repository / ATRIUM), "--overlay", str(pancreas)],
        ),
    }
    for name, (network, options) in networks.items():
        weights = {
            key: torch.ones(entry["shape"], dtype=getattr(torch, entry["dtype"]))
            for key, entry in published[name]["keys"].items()
        }
        torch.save(weights, tmp_path / f"{name}.pth")
        output = tmp_path / name
        script.main([str(tmp_path / f"{name}.pth"), str(output), "--name", "teacher", *options])
        loaded = load_weights(network, output / "teacher.pt")
        assert all(bool((value == 1).all()) for value in loaded.state_dict().values())
    assert "60 renamed" in capsys.readouterr().out


def test_a_training_may_start_from_weights_that_nobody_knows_the_cases_of(
    script: ModuleType, repository: Path, tmp_path: Path, checkpoint: Path, four_filters: str
) -> None:
    output = tmp_path / "runs" / "pretrain"
    arguments = [str(checkpoint), str(output), "--overlay", four_filters]
    script.main([*arguments, "--bundle", str(repository / ATRIUM)])
    assert training_of(output) == output.resolve()
    manifest = load_manifest(repository / "data_manifests" / "left_atrium_8_labeled.json")
    refuse_held_out_in_origin([output / "model.pt"], manifest, tmp_path)


def test_a_folder_that_holds_a_training_is_left_as_it_is(
    script: ModuleType, repository: Path, tmp_path: Path, checkpoint: Path, four_filters: str
) -> None:
    arguments = [str(checkpoint), str(tmp_path / "train"), "--overlay", four_filters]
    arguments += ["--bundle", str(repository / ATRIUM)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "trained_cases.json").write_text("{}")  # begun, without weights yet
    with pytest.raises(CheckpointError, match=r"train is not empty.*give a new folder"):
        script.main(arguments)
    (tmp_path / "train" / "trained_cases.json").unlink()
    script.main(arguments)
    before = (tmp_path / "train" / "student.pt").read_bytes()
    with pytest.raises(CheckpointError, match="is not empty"):
        script.main([*arguments, "--name", "teacher"])
    assert (tmp_path / "train" / "student.pt").read_bytes() == before


def test_what_cannot_be_imported_is_named_and_nothing_is_written(
    script: ModuleType, repository: Path, tmp_path: Path, checkpoint: Path, four_filters: str
) -> None:
    output, bundle = str(tmp_path / "new"), ["--bundle", str(repository / ATRIUM)]
    four = ["--overlay", four_filters]
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(checkpoint.read_bytes()[:-300])
    with pytest.raises(CheckpointError, match=r"absent\.pth does not exist"):
        script.main([str(tmp_path / "absent.pth"), output, *bundle, *four])
    with pytest.raises(CheckpointError, match=r"damaged\.pth cannot be read"):
        script.main([str(damaged), output, *bundle, *four])
    with pytest.raises(CheckpointError, match=r"does not fit the network.*filters"):
        script.main([str(checkpoint), output, *bundle])
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        script.main([str(checkpoint), output, *bundle, "--overlay", "nothing"])
    (tmp_path / "empty" / "configs").mkdir(parents=True)
    (tmp_path / "empty" / "configs" / "common.yaml").write_text("seed: 0\n")
    with pytest.raises(ConfigError, match="has no network_def"):
        script.main([str(checkpoint), output, "--bundle", str(tmp_path / "empty")])
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="cannot be written"):
        script.main([str(checkpoint), str(checkpoint), *bundle, *four])


def test_the_command_ends_with_one_sentence(repository: Path, tmp_path: Path) -> None:
    line = [sys.executable, str(repository / "scripts" / "import_checkpoint.py")]
    line += ["a.pth", str(tmp_path / "new"), "--bundle", str(tmp_path / "no_bundle")]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    result = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, result.stdout) == (2, "")
    sentence = (
        f"{tmp_path}/no_bundle/configs/common.yaml: cannot be read (No such file or directory)"
    )
    assert result.stderr == f"{sentence}; check the path.\n"
