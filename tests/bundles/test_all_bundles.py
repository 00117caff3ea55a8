"""What every bundle must pass before anything is trained with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medsemi.bundle.layout import check_layout
from medsemi.bundle.lint import lint_bundle

BUNDLES = sorted(p for p in (Path(__file__).parents[2] / "bundles").iterdir() if p.is_dir())
COMMON = {
    "bundle_root", "dataset_dir", "manifest", "output_dir", "tracking_uri", "experiment_name",
    "run_name", "seed", "device", "amp", "num_workers",
}  # fmt: skip


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_linter_finds_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parents[1])
    assert [str(finding) for finding in lint_bundle(bundle)] == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_the_model_zoo_would_take_its_files(bundle: Path) -> None:
    assert check_layout(bundle) == []


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_it_takes_the_common_keys(bundle: Path) -> None:
    keys = yaml.safe_load((bundle / "configs" / "common.yaml").read_text()).keys()
    assert keys >= COMMON
