"""What a folder that is no usable bundle is told, before anything is loaded."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medsemi.prediction.codes import RunStopped
from medsemi.prediction.model import load_model

CONTRACT = {"modality": ["MR"], "labels": {"1": {"name": "organ"}}}


def write_bundle(folder: Path, contract: dict[str, Any] | None = None) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {"version": "1", "medsemi": CONTRACT if contract is None else contract}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return folder


def told(folder: Path) -> str:
    with pytest.raises(RunStopped) as stop:
        load_model(folder)
    assert (stop.value.finding.code, stop.value.exit_code) == ("E10", 1)
    return stop.value.finding.text


def test_a_bundle_is_read(tmp_path: Path) -> None:
    model = load_model(write_bundle(tmp_path / "organ"))
    assert (model.name, model.modality, list(model.weights)) == ("organ", ("MR",), ["model"])


def test_structures_without_a_color_are_told_apart(tmp_path: Path) -> None:
    labels = {str(number): {"name": f"part {number}"} for number in range(1, 7)}
    labels["3"]["color"] = [1, 2, 3]
    model = load_model(write_bundle(tmp_path, {**CONTRACT, "labels": labels}))
    colors = [label.color for label in model.labels]
    assert colors[2] == (1, 2, 3)
    for one, other in itertools.combinations(colors, 2):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 40


@pytest.mark.parametrize("given", ["runs/x/train", "runs/x"])
def test_the_folder_of_a_training_is_pointed_to_its_bundle(given: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "runs" / "x" / "train" / "bundle")
    (tmp_path / "runs" / "x" / "train" / "model.pt").write_bytes(b"weights")
    sentence = told(tmp_path / given)
    assert f"{Path(given).name} holds no configs/metadata.json; " in sentence
    assert sentence.endswith(f"the training left its bundle in {bundle}.")


def test_the_bundles_of_several_trainings_are_all_named(tmp_path: Path) -> None:
    for stage in ("train", "supervised"):
        write_bundle(tmp_path / stage / "bundle")
    bundles = f"{tmp_path / 'supervised' / 'bundle'}, {tmp_path / 'train' / 'bundle'}"
    assert told(tmp_path).endswith(f"the trainings left their bundles in {bundles}.")


def test_a_folder_without_any_bundle_is_told_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(tmp_path).endswith(
        f"{tmp_path.name} holds no configs/metadata.json; name the folder of a bundle."
    )
    monkeypatch.chdir(tmp_path)
    assert ": . holds no configs" in told(Path())


@pytest.mark.parametrize("contract", [CONTRACT, {}])
def test_a_bundle_without_weights_blames_no_other_file(
    contract: dict[str, Any], tmp_path: Path
) -> None:
    """The bundles that come with the program hold none, and not all of them name structures yet."""
    shutil.rmtree(write_bundle(tmp_path / "organ", contract) / "models")
    sentence = told(tmp_path / "organ")
    assert "organ holds no weights (models/model.pt); train with it and name the folder" in sentence
    assert "metadata" not in sentence


def test_a_wrong_key_is_told_with_its_file(tmp_path: Path) -> None:
    sentence = told(write_bundle(tmp_path / "organ", {"modality": ["MR"]}))
    assert "configs/metadata.json, key 'medsemi': 'labels' is missing" in sentence


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"spcing": [1, 1, 1]}, "'spcing' is not known"),
        ({"intensity": {"cilp": [0, 1]}}, "'intensity.cilp' is not known"),
        ({"intensity": {"clip": [100, -100]}}, "a least value and a greater one"),
        ({"intensity": {"clip": [5, 5], "norm": "range"}}, "a least value and a greater one"),
    ],
)
def test_a_contract_that_would_prepare_other_values_is_refused(
    entry: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in told(write_bundle(tmp_path / "organ", {**CONTRACT, **entry}))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["kidney", "kidney"],
            "labels 1 and 2 are both called 'kidney'; give each a name of its own",
        ),
        (["kidney", "spleen", " kidney "], "labels 1 and 3 are both called 'kidney'"),
        (["kidney", ""], "label 2 has no name; name its structure"),
        (["kidney", " "], "label 2 has no name"),
        (["kidney", None], "label 2 has no name"),
        ([7], "label 1 has no name"),
    ],
)
def test_structures_that_tables_cannot_tell_apart_are_refused(
    names: list[Any], words: str, tmp_path: Path
) -> None:
    """Volumes and agreement are told by name: of two of one name, the last alone would be seen."""
    labels = {str(number): {"name": name} for number, name in enumerate(names, start=1)}
    sentence = told(write_bundle(tmp_path / "organ", {**CONTRACT, "labels": labels}))
    assert f"configs/metadata.json, key 'medsemi': {words}" in sentence


@pytest.mark.parametrize("numbers", [["1", "3"], ["0", "1"], ["1", "01"], ["organ"]])
def test_labels_that_are_not_numbered_through_are_refused(
    numbers: list[str], tmp_path: Path
) -> None:
    labels = {number: {"name": f"part {number}"} for number in numbers}
    sentence = told(write_bundle(tmp_path / "organ", {**CONTRACT, "labels": labels}))
    assert "labels must be numbered 1, 2, 3 … without a hole" in sentence


def test_a_label_without_the_key_name_has_none(tmp_path: Path) -> None:
    sentence = told(write_bundle(tmp_path / "organ", {**CONTRACT, "labels": {"1": {}}}))
    assert "label 1 has no name" in sentence


@pytest.mark.parametrize("call", ["read_bytes", "is_file", "is_dir"])
def test_a_bundle_that_may_not_be_read_is_told(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a colleague whose files nobody else may open."""
    folder = write_bundle(tmp_path / "organ")

    def refuse(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, call, refuse)
    sentence = told(folder)
    assert (
        "cannot be read (Permission denied); ask whoever made it for leave to read it" in sentence
    )
    assert str(tmp_path) not in sentence
