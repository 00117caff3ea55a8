"""A bundle made here, and every way in which a submission of it would be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medsemi.bundle.layout import LARGEST_FILE, SCHEMA, check_layout


def tensor(kind: str, channels: int) -> dict[str, Any]:
    return {
        "type": "image",
        "format": kind,
        "modality": "MR",
        "num_channels": channels,
        "spatial_shape": ["16*n", "16*n", 32],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(channel): "name" for channel in range(channels)},
    }


def metadata() -> dict[str, Any]:
    texts = ("name", "task", "description", "authors", "copyright", "intended_use")
    return {
        "schema": "https://example.org/schema.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": "first"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {},
        **dict.fromkeys(texts, "text"),
        "network_data_format": {
            "inputs": {"image": tensor("magnitude", 1)},
            "outputs": {"pred": tensor("segmentation", 2)},
        },
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for folder in ("configs", "docs", "models"):
        (tmp_path / folder).mkdir()
    (tmp_path / "LICENSE").write_text("terms")
    (tmp_path / "docs/README.md").write_text("# Bundle")
    (tmp_path / "configs/inference.yaml").write_text("run: [$1]")
    (tmp_path / "configs/metadata.json").write_text(json.dumps(metadata()))
    return tmp_path


def test_sound_bundle(bundle: Path) -> None:
    assert check_layout(bundle) == []


@pytest.mark.parametrize(
    "name", ["LICENSE", "docs/README.md", "configs/inference.yaml", "configs/metadata.json"]
)
def test_missing_file(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    (problem,) = check_layout(bundle)
    assert Path(name).stem in problem


def set_version(content: dict[str, Any]) -> None:
    content["version"] = "0.2.0"


def set_channels(content: dict[str, Any]) -> None:
    content["network_data_format"]["inputs"]["image"]["num_channels"] = "one"


def set_shape(content: dict[str, Any]) -> None:
    content["network_data_format"]["outputs"]["pred"]["spatial_shape"] = ["any"]


def set_deprecated(content: dict[str, Any]) -> None:
    content["optional_packages_version"] = {}


def drop_purpose(content: dict[str, Any]) -> None:
    del content["intended_use"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_version, "changelog"),
        (set_channels, "num_channels"),
        (set_shape, "spatial_shape"),
        (set_deprecated, "optional_packages_version"),
        (drop_purpose, "intended_use"),
    ],
)
def test_metadata(change: Callable[[dict[str, Any]], None], words: str, bundle: Path) -> None:
    content = metadata()
    change(content)
    (bundle / "configs/metadata.json").write_text(json.dumps(content))
    (problem,) = check_layout(bundle)
    assert words in problem


def test_broken_metadata(bundle: Path) -> None:
    (bundle / "configs/metadata.json").write_text("{")
    (problem,) = check_layout(bundle)
    assert "cannot be parsed" in problem


def test_large_files_are_listed(bundle: Path) -> None:
    with (bundle / "models/model.pt").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    (problem,) = check_layout(bundle)
    assert "model.pt" in problem
    (bundle / "large_files.yml").write_text("large_files: [{path: models/model.pt, url: x}]")
    assert check_layout(bundle) == []


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_every_bundle_of_the_project(repository: Path) -> None:
    bundles = [path.parent for path in sorted((repository / "bundles").glob("*/configs"))]
    assert bundles
    assert [problem for bundle in bundles for problem in check_layout(bundle)] == []
