"""A finished training becomes a bundle that says what it was trained with and on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch import nn

from medsemi.bundle.deployment import deploy
from medsemi.bundle.layout import check_layout
from medsemi.bundle.lint import lint_configs
from medsemi.bundle.merged import merge
from medsemi.data.manifest import Manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.parts.two_networks import NetworkPair
from medsemi.prediction.model import load_model
from medsemi.training.checkpoint import save_weights

BUNDLE = Path(__file__).parents[2] / "bundles" / "left_atrium_mri_bcp"
CONFIGS = BUNDLE / "configs"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def manifest(data: Path) -> Manifest:
    return make_phantoms(data, count=6, shape=(20, 16, 16), labeled=2, validation=1, test=2)


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A run folder as a training leaves it, with the values of `demo.yaml` and an override."""
    files = [CONFIGS / f"{name}.yaml" for name in ("common", "train", "demo")]
    tree = merge(files, {"filters": 3, "dataset_dir": "archive of a patient"}).tree
    (tmp_path / "config.json").write_text(json.dumps(tree, default=str))
    for name in ("model", "student", "teacher"):
        torch.save({name: torch.zeros(1)}, tmp_path / f"{name}.pt")
    return tmp_path


def test_the_bundle_holds_what_the_run_was_trained_with(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    folder = deploy(BUNDLE, stage, data, manifest)
    assert folder == stage / "bundle"
    common = yaml.safe_load((folder / "configs" / "common.yaml").read_text())
    assert (common["window"], common["filters"], common["stride"]) == ([32] * 3, 3, [16] * 3)
    # As a bundle is run from its own folder.
    assert common["bundle_root"] == "."
    # Where somebody's data lay is nobody's business.
    assert "archive" not in (folder / "configs" / "common.yaml").read_text()
    assert {p.name for p in (folder / "models").iterdir()} == {
        "model.pt", "student.pt", "teacher.pt"
    }  # fmt: skip
    assert (folder / "LICENSE").is_file()
    # Not that of the bundle trained with, whose configurations are not in this one.
    readme = (folder / "docs" / "README.md").read_text()
    assert "a trained network" in readme
    assert check_layout(folder) == []
    assert "archive" not in readme
    assert (folder / "configs" / "inference.yaml").is_file()
    assert not list(stage.glob(".bundle*"))


def test_images_are_prepared_as_the_plan_of_the_training_says(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    recorded = stage / "config.json"
    tree = json.loads(recorded.read_text())
    planned = {
        "_target_": "monai.transforms.Compose",
        "transforms": [{"_target_": "monai.transforms.Spacingd", "pixdim": "@spacing"}],
    }
    told = {"spacing": [1.0, 2.0, 3.0], "inference_preprocessing": planned}
    told["preparation"] = {"spacing": "@spacing"}
    recorded.write_text(json.dumps({**tree, **told}))
    configs = deploy(BUNDLE, stage, data, manifest) / "configs"
    merged = merge([configs / "common.yaml", configs / "inference.yaml"], {})
    assert not merged.findings
    assert merged.tree["inference_preprocessing"] == planned
    assert merged.tree["spacing"] == [1.0, 2.0, 3.0]
    published = merge([CONFIGS / "common.yaml", CONFIGS / "inference.yaml"], {}).tree
    assert merged.tree["postprocessing"] == published["postprocessing"]


def test_the_bundle_can_be_read_by_those_who_predict(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    model = load_model(deploy(BUNDLE, stage, data, manifest))
    assert model.name == "left_atrium_mri_bcp"
    assert [label.name for label in model.labels] == ["organ"]
    assert set(model.weights) == {"model", "student", "teacher"}


def test_two_networks_with_one_voice_are_deployed_as_such(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    torch.save(
        {"first.weight": torch.zeros(1), "second.weight": torch.zeros(1)}, stage / "model.pt"
    )
    folder = deploy(BUNDLE, stage, data, manifest)
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "common.yaml"))
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, NetworkPair)
    assert isinstance(network.first, VNet)
    assert isinstance(network.second, nn.Module)
    assert network.first is not network.second


def test_two_networks_on_views_are_deployed_with_the_views_of_the_training(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    bundle = BUNDLE.parent / "left_atrium_mri_cfcnet"
    recorded = yaml.safe_load((bundle / "configs" / "common.yaml").read_text())
    recorded |= {"low_pass": "gaussian", "levels_high": 3}
    (stage / "config.json").write_text(json.dumps(recorded))
    torch.save(
        {"first.network.w": torch.zeros(1), "second.network.w": torch.zeros(1)}, stage / "model.pt"
    )
    folder = deploy(bundle, stage, data, manifest)
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "common.yaml"))
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, NetworkPair)
    assert [member.band for member in (network.first, network.second)] == ["low", "high"]
    assert (network.first.views.kind, network.second.views.levels_high) == ("gaussian", 3)
    assert isinstance(network.first.network, VNet)


def test_the_bundle_segments_with_its_own_weights_wherever_it_is(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    folder = deploy(BUNDLE, stage, data, manifest)
    inference = yaml.safe_load((folder / "configs" / "inference.yaml").read_text())
    assert inference["weights"] == "$os.path.join(@bundle_root, 'models', 'model.pt')"
    assert inference["output_dir"] == "results"
    assert "trained" not in inference
    files = [folder / "configs" / f"{name}.yaml" for name in ("common", "inference")]
    assert [str(finding) for finding in lint_configs(files)] == []
    parser = ConfigParser()
    parser.read_config([str(path) for path in files])
    parser["bundle_root"] = str(folder)
    assert (
        Path(parser.get_parsed_content("weights")).read_bytes() == (stage / "model.pt").read_bytes()
    )


@pytest.mark.parametrize("name", sorted(path.name for path in BUNDLE.parent.iterdir()))
def test_every_bundle_is_one_that_monai_runs(
    name: str, tmp_path: Path, data: Path, manifest: Manifest
) -> None:
    configs = BUNDLE.parent / name / "configs"
    tree = merge([configs / "common.yaml", configs / "train.yaml"], {}).tree
    (tmp_path / "config.json").write_text(json.dumps(tree, default=str))
    torch.save({"model": torch.zeros(1)}, tmp_path / "model.pt")
    folder = deploy(BUNDLE.parent / name, tmp_path, data, manifest)
    files = [folder / "configs" / f"{part}.yaml" for part in ("common", "inference")]
    assert [str(finding) for finding in lint_configs(files)] == []


def hint_of(
    stage: Path, data: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture, **values: object
) -> str:
    """What a training of the cardiac bundle says at its end."""
    bundle = BUNDLE.parent / "cardiac_mri_bcp"
    files = [bundle / "configs" / f"{name}.yaml" for name in ("common", "train")]
    tree = merge(files, {"filters": 2, **values}).tree
    (stage / "config.json").write_text(json.dumps(tree, default=str))
    network = UNet2D(in_channels=1, out_channels=4, filters=2)
    for name in ("model", "student", "teacher"):
        save_weights(stage / f"{name}.pt", network)
    classes = {0: "background", 1: "a", 2: "b", 3: "c"}
    with caplog.at_level("INFO"):
        deploy(bundle, stage, data, replace(manifest, classes=classes))
    return caplog.text


def test_predict_is_named_where_it_takes_the_bundle(
    stage: Path, data: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    told = hint_of(stage, data, manifest, caplog)
    assert f"medsemi predict FOLDER --model {stage / 'bundle'} --out RESULTS" in told
    assert "monai.bundle" not in told


def test_another_command_is_named_for_a_protocol_that_predict_refuses(
    stage: Path, data: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    published = {"window_rule": "stretch", "protocol": "published"}
    told = hint_of(stage, data, manifest, caplog, **published)
    assert "medsemi predict FOLDER" not in told
    assert "medsemi predict does not take this bundle: E10" in told
    configs = stage / "bundle" / "configs"
    files = [configs / "common.yaml", configs / "inference.yaml"]
    assert (
        f'--config_file "{[str(path) for path in files]}" --bundle_root {stage / "bundle"}' in told
    )
    assert lint_configs(files, {"dataset_dir": "FOLDER", "output_dir": "RESULTS"}) == []


def test_the_form_of_the_output_is_that_of_the_classes(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    three = replace(manifest, classes={0: "background", 1: "wall", 2: "ventricle"})
    folder = deploy(BUNDLE, stage, data, three)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    predicted = metadata["network_data_format"]["outputs"]["pred"]
    assert predicted["num_channels"] == 3
    assert predicted["channel_def"] == {"0": "background", "1": "wall", "2": "ventricle"}


def test_codes_and_colors_stay_with_the_name(stage: Path, data: Path, manifest: Manifest) -> None:
    (bundled,) = load_model_labels(BUNDLE)
    renamed = Manifest(**{**vars(manifest), "classes": {0: "background", 1: "Left Atrium"}})
    model = load_model(deploy(BUNDLE, stage, data, renamed))
    assert model.labels[0].type[1] == bundled["type"][1]


def load_model_labels(bundle: Path) -> list[dict]:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    return list(metadata["medsemi"]["labels"].values())


def test_ranges_span_the_training_images_and_no_others(
    stage: Path, data: Path, manifest: Manifest
) -> None:
    outlier = data / manifest.test[0].image
    image = nibabel.load(outlier)
    nibabel.save(nibabel.Nifti1Image(np.full((20, 16, 16), 9e6, np.float32), image.affine), outlier)
    ranges = load_model(deploy(BUNDLE, stage, data, manifest)).training_ranges
    assert ranges
    for least, greatest in ranges.values():
        assert least <= greatest < 1e6


def test_what_a_kill_left_is_cleared_away(stage: Path, data: Path, manifest: Manifest) -> None:
    (stage / ".bundle" / "models").mkdir(parents=True)
    (stage / ".bundle" / "models" / "old.pt").write_text("half")
    folder = deploy(BUNDLE, stage, data, manifest)
    assert folder is not None
    assert not (folder / "models" / "old.pt").exists()
    assert not (stage / ".bundle").exists()


def test_a_second_time_replaces_the_first(stage: Path, data: Path, manifest: Manifest) -> None:
    deploy(BUNDLE, stage, data, manifest)
    (stage / "bundle" / "old").write_text("old")
    deploy(BUNDLE, stage, data, manifest)
    assert not (stage / "bundle" / "old").exists()


def test_other_ranks_write_nothing(
    stage: Path, data: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert deploy(BUNDLE, stage, data, manifest) is None
    assert not (stage / "bundle").exists()
