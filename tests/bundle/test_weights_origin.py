"""What is scored was trained with the same network, views and preparation of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsemi.bundle.merged import merge
from medsemi.bundle.weights_origin import refuse_other_preparation
from medsemi.data.held_out import keep_trained_cases
from medsemi.errors import CheckpointError


def tree(repository: Path, bundle: str, workflow: str, *overlays: str, **values: object) -> dict:
    configs = repository / "bundles" / bundle / "configs"
    files = [configs / f"{name}.yaml" for name in ("common", workflow, *overlays)]
    merged = merge(files, values)
    assert not merged.findings
    return merged.tree


def test_views_of_an_overlay_must_be_given_again(repository: Path, tmp_path: Path) -> None:
    trained = tree(repository, "root_canal_cbct_cfcnet", "train", "two_views")
    (tmp_path / "config.json").write_text(json.dumps(trained, default=str))
    with pytest.raises(CheckpointError, match=r"levels_high was 1, is 2.*give the overlays"):
        refuse_other_preparation(tmp_path, tree(repository, "root_canal_cbct_cfcnet", "evaluate"))
    same = tree(repository, "root_canal_cbct_cfcnet", "evaluate", "two_views")
    refuse_other_preparation(tmp_path, same)


@pytest.mark.parametrize("workflow", ["pseudo_label", "inference"])
def test_a_labeling_and_an_inference_are_compared_too(
    repository: Path, tmp_path: Path, workflow: str
) -> None:
    trained = tree(repository, "any_organ_bcp", "train", spacing=[2.0, 2.0, 2.0])
    (tmp_path / "config.json").write_text(json.dumps(trained, default=str))
    with pytest.raises(CheckpointError, match=r"spacing::0 was 2\.0, is None"):
        refuse_other_preparation(tmp_path, tree(repository, "any_organ_bcp", workflow))


@pytest.mark.parametrize(
    ("workflow", "trained", "scored"),
    [
        ("train", {"dropout": 0.0}, {"dropout": 0.5, "dataset_dir": "elsewhere"}),
        ("method", {}, {"protocol": "published", "mirror_axes": [0], "stride": [8, 8, 8]}),
        ("supervised", {"learning_rate": 0.1, "output_dir": "a"}, {"output_dir": "b"}),
    ],
)
def test_what_is_no_preparation_may_differ(
    repository: Path, tmp_path: Path, workflow: str, trained: dict, scored: dict
) -> None:
    name = "left_atrium_mri_bcp"
    before = tree(repository, name, workflow, **trained)
    (tmp_path / "config.json").write_text(json.dumps(before, default=str))
    refuse_other_preparation(tmp_path, tree(repository, name, "evaluate", **scored))


@pytest.mark.parametrize("workflow", ["evaluate", "inference", "pseudo_label"])
def test_slices_that_were_stretched_are_scored_as_such(
    repository: Path, tmp_path: Path, workflow: str
) -> None:
    name, values = "cardiac_mri_bcp", {"window_rule": "stretch", "protocol": "published"}
    before = tree(repository, name, "train", **values)
    (tmp_path / "config.json").write_text(json.dumps(before, default=str))
    with pytest.raises(CheckpointError, match=r"window_rule was stretch, is cut\): give the"):
        refuse_other_preparation(tmp_path, tree(repository, name, workflow))
    refuse_other_preparation(tmp_path, tree(repository, name, workflow, **values))


def test_a_training_that_says_nothing_of_its_windows_cut_them(
    repository: Path, tmp_path: Path
) -> None:
    name = "cardiac_mri_bcp"
    before = tree(repository, name, "train")
    del before["window_rule"]
    (tmp_path / "config.json").write_text(json.dumps(before, default=str))
    refuse_other_preparation(tmp_path, tree(repository, name, "evaluate"))
    with pytest.raises(CheckpointError, match=r"window_rule was cut, is stretch"):
        refuse_other_preparation(
            tmp_path, tree(repository, name, "evaluate", window_rule="stretch")
        )


def test_another_orientation_is_refused(repository: Path, tmp_path: Path) -> None:
    name = "left_atrium_mri_bcp"
    before = tree(repository, name, "train", **{"preprocessing::transforms::2::axcodes": "LPS"})
    (tmp_path / "config.json").write_text(json.dumps(before, default=str))
    with pytest.raises(CheckpointError, match="axcodes was LPS, is RAS"):
        refuse_other_preparation(tmp_path, tree(repository, name, "evaluate"))


def test_weights_of_a_deployed_bundle_are_those_of_the_training_that_left_it(
    repository: Path, tmp_path: Path
) -> None:
    name = "left_atrium_mri_bcp"
    before = tree(repository, name, "train", filters=8)
    (tmp_path / "config.json").write_text(json.dumps(before, default=str))
    keep_trained_cases(tmp_path, {"labeled": [], "unlabeled": []})
    models = tmp_path / "bundle" / "models"
    models.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="filters was 8, is 16"):
        refuse_other_preparation(models, tree(repository, name, "evaluate"))
    refuse_other_preparation(models, tree(repository, name, "evaluate", filters=8))


def test_weights_without_a_configuration_are_taken(repository: Path, tmp_path: Path) -> None:
    refuse_other_preparation(tmp_path, tree(repository, "left_atrium_mri_bcp", "evaluate"))
