"""What every bundle must pass before anything is trained with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from medsemi.bundle.layout import check_layout
from medsemi.bundle.lint import lint_bundle

BUNDLES = sorted(p for p in (Path(__file__).parents[2] / "bundles").iterdir() if p.is_dir())
COMMON = {
    "bundle_root", "dataset_dir", "manifest", "output_dir", "tracking_uri", "experiment_name",
    "run_name", "seed", "device", "amp", "num_workers",
}  # fmt: skip
TRAINING = ("pretrain", "train", "supervised", "method_pretrain", "method")
# Keys of the left-atrium bundle that another one does without, and why.
WITHOUT = {
    "left_atrium_mri_cfcnet": {
        "dice": "CFC-Net weighs its own Dice; supervised and method hold the form of theirs",
        "hole_ratio": "CFC-Net pastes no box",
    },
    "root_canal_cbct_cfcnet": {
        "dice": "CFC-Net weighs its own Dice; supervised and method hold the form of theirs",
        "hole_ratio": "CFC-Net pastes no box",
        "protocol": "no table of root canals is published, so that there is one protocol",
        "published_stride": "as for protocol",
    },
    "cardiac_mri_bcp": {
        "published_stride": "the published protocol of slices stretches them and has no stride",
    },
}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_linter_finds_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parents[1])
    assert [str(finding) for finding in lint_bundle(bundle)] == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_model_zoo_would_take_its_files(bundle: Path) -> None:
    assert check_layout(bundle) == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_an_inference_compares_its_preparation_with_the_training(bundle: Path) -> None:
    described = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text())
    assert "$check_weights(@weights)" in described["initialize"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_an_inference_looks_at_all_images_and_results_before_the_network_is_built(
    bundle: Path,
) -> None:
    described = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text())
    looks = ["$require_room(@images, @results_dir)", "$require_images(@images, @dataset_dir)"]
    assert described["initialize"][-2:] == looks


@pytest.mark.parametrize("place", ["", "images"])
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_an_inference_finds_images_in_a_folder_of_any_name(
    bundle: Path, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "[1] scans" / place
    folder.mkdir(parents=True)
    (folder / "a.nii.gz").touch()
    files = [bundle / "configs" / f"{name}.yaml" for name in ("common", "inference")]
    parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in files]))
    parser["dataset_dir"] = str(tmp_path / "[1] scans")
    assert parser.get_parsed_content("images") == [str(folder / "a.nii.gz")]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_it_takes_the_common_keys(bundle: Path) -> None:
    keys = yaml.safe_load((bundle / "configs" / "common.yaml").read_text()).keys()
    assert keys >= COMMON


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_it_takes_the_keys_of_the_left_atrium(bundle: Path) -> None:
    wanted, here = (
        yaml.safe_load((folder / "configs" / "common.yaml").read_text()).keys()
        for folder in (bundle.parent / "left_atrium_mri_bcp", bundle)
    )
    assert wanted - here == WITHOUT.get(bundle.name, {}).keys()


@pytest.mark.parametrize("workflow", TRAINING)
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_switches_of_the_recipe_reach_every_trainer(bundle: Path, workflow: str) -> None:
    common, described = (
        yaml.safe_load((bundle / "configs" / f"{name}.yaml").read_text())
        for name in ("common", workflow)
    )
    trainer = described["train"]["trainer"]
    for switch in ("gradient_clip", "weight_average", "deep_supervision"):
        assert common["shared_settings"][switch] == f"@{switch}"
        assert trainer[switch] == f"@{switch}"
    assert trainer["intensity"] == "@intensity"
