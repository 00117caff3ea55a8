"""A training is continued as it was begun, and may be continued elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsemi.bundle.merged import merge
from medsemi.bundle.resumed import refuse_other_training
from medsemi.errors import CheckpointError


def tree(repository: Path, overrides: dict[str, object], *overlays: str) -> dict[str, object]:
    configs = repository / "bundles/left_atrium_mri_bcp/configs"
    files = [configs / f"{name}.yaml" for name in ("common", "train", *overlays)]
    merged = merge(files, overrides)
    assert not merged.findings
    return merged.tree


@pytest.fixture
def begun(repository: Path, tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(tree(repository, {}), default=str))
    (tmp_path / "last.pt").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optimizer::momentum", 0.5),
        ("train::dataset::flip_rule", "all"),
        ("train::trainer::gradient_clip", 3),
        ("network_def::norm", "none"),
        ("preprocessing::transforms::2::axcodes", "LPS"),
        ("initial_weights", "other.pt"),
    ],
)
def test_what_is_trained_must_be_the_same(
    repository: Path, begun: Path, path: str, value: object
) -> None:
    with pytest.raises(
        CheckpointError, match=rf"{path} was .*, is {value}.*take another output_dir"
    ):
        refuse_other_training(begun, tree(repository, {path: value}))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"num_workers": 2, "checkpoint_interval": 7, "val_interval": 9, "device": "cpu"},
        {"output_dir": "moved", "dataset_dir": "there", "tracking_uri": "http://server"},
        {"stride": [8, 8, 8], "mirror_axes": [0], "train::trainer::num_workers": 1},
        {"learning_rate": 0.5},  # the checkpoint compares its value
    ],
)
def test_where_and_how_it_is_trained_may_differ(
    repository: Path, begun: Path, overrides: dict[str, object]
) -> None:
    refuse_other_training(begun, tree(repository, overrides))
    refuse_other_training(begun, tree(repository, overrides, "multi_gpu"))


def test_without_a_checkpoint_anything_may_be_trained(repository: Path, begun: Path) -> None:
    (begun / "last.pt").unlink()
    refuse_other_training(begun, tree(repository, {"optimizer::momentum": 0.5}))
