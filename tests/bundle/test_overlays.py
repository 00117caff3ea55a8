"""An overlay that stands before what it lies on is refused where it would be undone in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.bundle.lint import lint_configs
from medsemi.bundle.overlays import bases, misplaced_overlays

BUNDLE = "bundles/left_atrium_mri_bcp/configs"


@pytest.mark.parametrize(
    ("order", "overlay", "after"),
    [
        (("recipe", "common", "train"), "recipe", "common"),
        (("small", "common", "train"), "small", "common"),
        (("common", "method", "method_evaluate", "evaluate"), "method_evaluate", "evaluate"),
    ],
)
def test_an_overlay_before_what_it_lies_on_is_told_alone(
    repository: Path, order: tuple[str, ...], overlay: str, after: str
) -> None:
    configs = repository / BUNDLE
    (finding,) = lint_configs([configs / f"{name}.yaml" for name in order])
    sentence = f"{after}.yaml comes after it and undoes what it says; name it after {after}.yaml."
    assert str(finding) == f"{configs / overlay}.yaml: {sentence}"


@pytest.mark.parametrize(
    "order",
    [
        ("common", "train", "small", "recipe"),
        ("common", "train", "recipe", "small", "multi_gpu"),
        ("common", "method", "evaluate", "method_evaluate", "recipe"),
        ("common", "recipe", "train"),
        ("train", "common"),
        ("common", "small", "evaluate"),
    ],
)
def test_an_order_that_undoes_nothing_is_taken(repository: Path, order: tuple[str, ...]) -> None:
    assert misplaced_overlays([repository / BUNDLE / f"{name}.yaml" for name in order]) == []


def test_a_file_that_says_nothing_follows_common(repository: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("# Made by: medsemi fingerprint\nwindow: [64, 64, 64]\n")
    common, train = (repository / BUNDLE / f"{name}.yaml" for name in ("common", "train"))
    (finding,) = misplaced_overlays([plan, common, train])
    assert finding.file == str(plan)
    assert misplaced_overlays([common, train, plan]) == []


@pytest.mark.parametrize("name", ["common", "supervised"])
def test_an_overlay_may_have_the_name_of_a_file_of_the_bundle(
    repository: Path, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / f"{name}.yaml"
    mine.write_text("filters: 8\n")
    files = [repository / BUNDLE / f"{name}.yaml" for name in ("common", "train", "small")]
    assert misplaced_overlays([*files, mine]) == []


def test_what_a_file_lies_on(tmp_path: Path) -> None:
    file, common = tmp_path / "a.yaml", tmp_path / "common.yaml"
    file.write_text("# overlay of: common.yaml, b.yaml ; common.yaml\nrate: 1\n")
    assert bases(file) == [["common.yaml", "b.yaml"], ["common.yaml"]]
    file.write_text("rate: 1\n")
    assert bases(file) == [[]]
    common.write_text("rate: 2\n")
    assert bases(file) == [["common.yaml"]]
    assert bases(common) == []


def test_a_file_that_cannot_be_read_is_told_by_its_reader(tmp_path: Path) -> None:
    files = [tmp_path / "common.yaml", tmp_path / "none.yaml", tmp_path / "odd.yaml"]
    files[0].write_text("run: [$1]\n")
    files[2].write_bytes(b"\xff\xfe")
    assert [f.file for f in lint_configs(files)] == [str(path) for path in files[1:]]
