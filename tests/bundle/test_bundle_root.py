"""A copied bundle, or one that is started elsewhere, says where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medsemi.bundle.bundle_root import root_mistake
from medsemi.bundle.merged import merge

ROOTS = ("initialize", "run", "finalize")


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    """A bundle that somebody copied in order to edit it."""
    return shutil.copytree(repository / "bundles/cardiac_mri_bcp", tmp_path / "mine")


def mistake(bundle: Path, stage: str, **values: object) -> str:
    files = [bundle / "configs" / f"{name}.yaml" for name in ("common", stage)]
    return root_mistake(files[0], merge(files, values).tree, ROOTS)


@pytest.mark.parametrize("stage", ["train", "supervised", "method"])
def test_a_copy_is_not_deployed_as_the_original(
    repository: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.chdir(repository)
    assert mistake(copied, stage) == (
        f"bundle_root is bundles/cardiac_mri_bcp, but the configuration is that of {copied}:"
        f" give --bundle_root {copied}."
    )
    assert mistake(copied, stage, bundle_root=str(copied)) == ""
    assert mistake(repository / "bundles/cardiac_mri_bcp", stage) == ""


def test_a_bundle_that_is_started_elsewhere_is_named(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = repository / "bundles/cardiac_mri_bcp"
    monkeypatch.chdir(tmp_path)
    assert f"give --bundle_root {bundle.resolve()}." in mistake(bundle, "train")
    monkeypatch.chdir(bundle)
    assert mistake(Path(), "train", bundle_root=".") == ""


@pytest.mark.parametrize("stage", ["pretrain", "evaluate", "pseudo_label", "inference"])
def test_a_stage_that_deploys_nothing_is_let_be(
    copied: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.chdir(copied)
    assert mistake(copied, stage) == ""


def test_an_expression_and_files_of_no_bundle_are_let_be(
    repository: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    assert mistake(copied, "train", bundle_root="$os.environ['BUNDLE']") == ""
    (copied / "configs/metadata.json").unlink()
    assert mistake(copied, "train") == ""


def test_a_bundle_of_links_is_a_bundle_of_its_own(
    repository: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    common = copied / "configs/common.yaml"
    common.unlink()
    common.symlink_to(repository / "bundles/cardiac_mri_bcp/configs/common.yaml")
    assert f"give --bundle_root {copied}." in mistake(copied, "train")
