"""No code that trains can open a test case; who scores it leaves a record."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from medsemi.data.held_out import (
    LOOKS,
    keep_trained_cases,
    opened_cases,
    refuse_held_out_in_origin,
)
from medsemi.data.manifest import Manifest, load_manifest, parse_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.data.volumes import VolumeStore
from medsemi.errors import ManifestError

KEYS = ["image", "label"]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    make_phantoms(tmp_path, count=4, shape=(16, 16, 16), labeled=1, validation=1, test=1)
    return load_manifest(tmp_path / "manifest.json")


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    load = LoadImaged(KEYS, allow_missing_keys=True)
    first = EnsureChannelFirstd(KEYS, allow_missing_keys=True)
    return VolumeStore(tmp_path, Compose([load, first]), tmp_path / "cache")


@pytest.mark.parametrize("with_label", [True, False])
def test_what_training_is_given_refuses_a_test_case(
    manifest: Manifest, store: VolumeStore, with_label: bool
) -> None:
    for cases in (manifest.test, manifest.cases("test")):
        with pytest.raises(ManifestError, match="is of the test list"):
            store.volumes(cases, with_label)
    assert not store.cache_dir.exists()


@pytest.mark.parametrize("role", ["test", "validation"])
def test_a_case_that_was_trained_on_is_not_scored(
    manifest: Manifest, tmp_path: Path, role: str
) -> None:
    """Also where the manifest of another split is given."""
    learned = {"labeled": ["a"], "unlabeled": [case.case_id for case in manifest.unlabeled]}
    keep_trained_cases(tmp_path / "run" / "train", learned)
    document = json.loads((tmp_path / "manifest.json").read_text())
    document[role], document["unlabeled"] = document["unlabeled"], document[role]
    other = parse_manifest(document, "other.json")
    with pytest.raises(ManifestError, match=r"was unlabeled.* in the training"):
        opened_cases(other, role, "final table", tmp_path, tmp_path / "run")
    assert not (tmp_path / "run" / LOOKS).exists()
    assert opened_cases(manifest, role, "final table", tmp_path, tmp_path / "run")


@pytest.fixture
def learned(manifest: Manifest, tmp_path: Path) -> Path:
    """The run folder of a training elsewhere, which learned from a case of the validation."""
    folder = tmp_path / "elsewhere" / "pretrain"
    keep_trained_cases(folder, {"labeled": [manifest.validation[0].case_id], "unlabeled": []})
    (folder / "config.json").write_text(json.dumps({"dataset_dir": str(tmp_path)}))
    return folder


@pytest.mark.parametrize("origin", ["initial_weights", "second_weights"])
def test_what_the_scored_weights_learned_from_is_not_scored(
    manifest: Manifest, tmp_path: Path, learned: Path, origin: str
) -> None:
    """Also where they, or the weights that they started from, lie in another output folder."""
    opened = manifest, "validation", None, tmp_path, tmp_path / "run"
    assert opened_cases(*opened)
    follower = tmp_path / "run" / "train"
    keep_trained_cases(follower, {"labeled": ["a"], "unlabeled": []})
    assert opened_cases(*opened, follower)
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*pretrain"):
        opened_cases(*opened, learned)
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*pretrain"):
        opened_cases(*opened, learned.with_name("train"))
    (follower / "config.json").write_text(json.dumps({origin: str(learned / "model.pt")}))
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*pretrain"):
        opened_cases(*opened, follower)


@pytest.mark.parametrize("origin", ["initial_weights", "second_weights"])
def test_what_a_deployed_bundle_learned_from_is_not_scored(
    manifest: Manifest, tmp_path: Path, learned: Path, origin: str
) -> None:
    """Its weights lie two folders below the training that left it."""
    models = learned / "bundle" / "models"
    models.mkdir(parents=True)
    opened = manifest, "validation", None, tmp_path, tmp_path / "run"
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*pretrain;"):
        opened_cases(*opened, models)
    follower = tmp_path / "run" / "train"
    keep_trained_cases(follower, {"labeled": ["a"], "unlabeled": []})
    (follower / "config.json").write_text(json.dumps({origin: str(models / "model.pt")}))
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*pretrain;"):
        opened_cases(*opened, follower)


@pytest.mark.parametrize("role", ["validation", "test"])
def test_no_training_starts_from_weights_that_learned_from_what_it_holds_out(
    manifest: Manifest, tmp_path: Path, role: str
) -> None:
    """Directly, through another training, and as a deployed bundle."""
    first, second = tmp_path / "first" / "pretrain", tmp_path / "second" / "pretrain"
    keep_trained_cases(first, {"labeled": [], "unlabeled": [manifest.cases(role)[0].case_id]})
    keep_trained_cases(second, {"labeled": ["a"], "unlabeled": []})
    (second / "config.json").write_text(json.dumps({"initial_weights": str(first / "model.pt")}))
    for weights in (first, second, first / "bundle" / "models"):
        with pytest.raises(
            ManifestError, match=rf"{role} case .* was unlabeled.* in the .*first/pretr"
        ):
            refuse_held_out_in_origin([weights / "model.pt"], manifest, tmp_path)


def test_a_training_starts_from_weights_that_learned_from_none_or_without_a_record(
    manifest: Manifest, tmp_path: Path, learned: Path
) -> None:
    same = tmp_path / "run" / "pretrain"
    keep_trained_cases(same, {"labeled": [manifest.labeled[0].case_id], "unlabeled": []})
    weights = [same / "model.pt", tmp_path / "published.pt", learned.parent / "absent" / "model.pt"]
    refuse_held_out_in_origin(weights, manifest, tmp_path)
    with pytest.raises(ManifestError):
        refuse_held_out_in_origin([*weights, learned / "model.pt"], manifest, tmp_path)


def test_a_training_further_above_is_another_one(
    manifest: Manifest, tmp_path: Path, learned: Path
) -> None:
    far = learned / "one" / "two" / "three"
    far.mkdir(parents=True)
    assert opened_cases(manifest, "validation", None, tmp_path, tmp_path / "run", far)


def test_a_case_of_the_same_name_in_another_data_set_is_scored(
    manifest: Manifest, tmp_path: Path, learned: Path
) -> None:
    case, other = manifest.validation[0], tmp_path / "other_data"
    (other / case.image).parent.mkdir(parents=True)
    (other / case.image).write_bytes(b"another image")
    (learned / "config.json").write_text(json.dumps({"dataset_dir": str(other)}))
    assert opened_cases(manifest, "validation", None, tmp_path, tmp_path / "run", learned)
    refuse_held_out_in_origin([learned / "model.pt"], manifest, tmp_path)


def test_where_the_data_of_a_training_are_gone_a_case_of_the_same_name_is_not_scored(
    manifest: Manifest, tmp_path: Path, learned: Path
) -> None:
    (learned / "config.json").write_text(json.dumps({"dataset_dir": str(tmp_path / "gone")}))
    unsure = r"was labeled, or another one of its name was, in the training .*pretrain, whose data are not there"
    with pytest.raises(ManifestError, match=unsure):
        opened_cases(manifest, "validation", None, tmp_path, tmp_path / "run", learned)
    with pytest.raises(ManifestError, match=unsure):
        refuse_held_out_in_origin([learned / "model.pt"], manifest, tmp_path)
    (learned / "config.json").write_text(json.dumps({"dataset_dir": str(tmp_path)}))
    with pytest.raises(ManifestError, match=r"was labeled in the training .*pretrain; this one"):
        refuse_held_out_in_origin([learned / "model.pt"], manifest, tmp_path)


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_without_a_reason_nothing_is_opened(
    manifest: Manifest, tmp_path: Path, reason: str | None
) -> None:
    with pytest.raises(ManifestError, match="only with a reason"):
        opened_cases(manifest, "test", reason, tmp_path, tmp_path)
    assert not (tmp_path / LOOKS).exists()


def test_each_look_is_recorded(manifest: Manifest, store: VolumeStore, tmp_path: Path) -> None:
    for reason in ("first\ntable", "second"):
        cases = opened_cases(manifest, "test", reason, tmp_path, tmp_path / "run")
    assert store.volumes(cases, True)[0].case_id == manifest.test[0].case_id
    with (tmp_path / "run" / LOOKS).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == ["first table", "second"]
    assert {row["digest"] for row in rows} == {manifest.digest}


def test_the_first_rank_alone_records_a_look(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert opened_cases(manifest, "test", "why", tmp_path, tmp_path / "run")
    assert not (tmp_path / "run" / LOOKS).exists()
    monkeypatch.setenv("RANK", "0")
    assert opened_cases(manifest, "test", "why", tmp_path, tmp_path / "run")
    assert (tmp_path / "run" / LOOKS).exists()


def test_a_test_image_that_was_trained_on_is_not_scored(manifest: Manifest, tmp_path: Path) -> None:
    trained, held_out = (tmp_path / cases[0].image for cases in (manifest.unlabeled, manifest.test))
    held_out.write_bytes(trained.read_bytes())
    with pytest.raises(ManifestError, match="same content as the unlabeled image"):
        opened_cases(manifest, "test", "why", tmp_path, tmp_path)
    assert not (tmp_path / LOOKS).exists()


def test_other_roles_need_no_reason(manifest: Manifest, tmp_path: Path) -> None:
    assert opened_cases(manifest, "validation", None, tmp_path, tmp_path) == manifest.validation
    assert not (tmp_path / LOOKS).exists()
    with pytest.raises(ManifestError, match="'tset' is no role"):
        opened_cases(manifest, "tset", "why", tmp_path, tmp_path)
