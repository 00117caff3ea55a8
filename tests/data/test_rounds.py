"""A round is a data set of true and kept labels, without a test case in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsemi.data.checks import check_training_data
from medsemi.data.manifest import Manifest, load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.data.rounds import PseudoLabel, keep_stable, make_round, read_pseudo_labels
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError


def label(case: str, stability: float) -> PseudoLabel:
    return PseudoLabel(case, f"{case}.nii.gz", stability, {"teacher": stability}, 5, {"date": "d"})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    make_phantoms(folder, count=6, shape=(16, 16, 16), labeled=1, validation=1, test=1)
    return folder


@pytest.fixture
def manifest(data: Path) -> Manifest:
    return load_manifest(data / "manifest.json")


@pytest.fixture
def labels(data: Path, manifest: Manifest, tmp_path: Path) -> Path:
    """A label file for each unlabeled case, of its own first slices."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for case in manifest.unlabeled:
        affine = nibabel.load(data / case.image).affine
        array = np.zeros((16, 16, 16), np.uint8)
        array[:4] = 1
        write_nifti(folder / f"{case.case_id}.nii.gz", array, affine)
    return folder


def kept(labels: list[PseudoLabel], share: float, patients: dict[str, str] | None = None) -> str:
    """Names of the cases that are kept, each of one letter and, unless told, of its own patient."""
    patients = patients or {label.case_id: label.case_id for label in labels}
    return "".join(one.case_id for one in keep_stable(labels, share, patients))


def test_the_most_stable_share_is_kept() -> None:
    labels = [label("a", 0.5), label("b", 0.9), label("c", 0.7), label("d", 0.1)]
    assert kept(labels, 0.5) == "bc"


def test_one_label_of_three_is_kept_by_a_share_of_a_tenth() -> None:
    assert kept([label("a", 0.5), label("b", 0.9), label("c", 0.7)], 0.1) == "b"


def test_the_name_decides_between_equally_stable_labels() -> None:
    assert kept([label("b", 0.5), label("a", 0.5)], 0.5) == "a"


def test_a_share_is_not_rounded_up_by_the_machine() -> None:
    """0.14 * 50 is 7.000000000000001 in binary."""
    labels = [label(f"{n:02}", 0.5) for n in range(50)]
    patients = {one.case_id: one.case_id for one in labels}
    assert len(keep_stable(labels, 0.14, patients)) == 7


def test_a_label_without_stability_is_never_kept() -> None:
    assert kept([label("a", 0.0)], 1.0) == ""


def test_a_patient_is_kept_or_left_as_a_whole() -> None:
    labels = [label("a", 0.9), label("b", 0.1), label("c", 0.6), label("d", 0.6)]
    two_each = {"a": "one", "b": "one", "c": "two", "d": "two"}
    assert kept(labels, 0.5, two_each) == "cd"
    assert kept(labels, 1.0, two_each) == "cdab"
    assert kept([*labels[:1], label("b", 0.0), *labels[2:]], 1.0, two_each) == "cd"


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    written = label("a", 0.25)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text(json.dumps(vars(written)))
    assert read_pseudo_labels(tmp_path) == []  # its label is gone
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.nii.gz").touch()
    assert read_pseudo_labels(tmp_path) == [written]
    assert read_pseudo_labels(tmp_path / "absent") == []


def test_a_record_that_a_kill_left_unfinished_is_none(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / ".4711.a.json").write_text('{"case_id": "a"')
    assert read_pseudo_labels(tmp_path) == []


def test_kept_cases_become_labeled_and_training_accepts_the_round(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path
) -> None:
    case = manifest.unlabeled[0].case_id
    made = make_round(manifest, data, [label(case, 1.0)], labels, tmp_path / "round_1", "second")
    assert [c.case_id for c in made.labeled] == [manifest.labeled[0].case_id, case]
    assert case not in {c.case_id for c in made.unlabeled}
    assert load_manifest(tmp_path / "round_1" / "manifest.json") == made
    check_training_data(made, tmp_path / "round_1" / "dataset", tmp_path / "cache")


def test_a_round_says_what_the_manifest_says_of_its_images(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path
) -> None:
    said = {
        "modality": "MR",
        "source": "a hospital",
        "terms": "not to be passed on",
        "protocol": "dealt by hand",
    }
    told = replace(manifest, **said)
    made = make_round(told, data, [], labels, tmp_path / "round_1", "second")
    assert {key: getattr(made, key) for key in said} == said
    silent = make_round(manifest, data, [], labels, tmp_path / "silent", "second")
    assert not silent.modality
    assert silent.digest == made.digest


def test_no_test_case_is_in_a_round(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path
) -> None:
    all_labels = [label(case.case_id, 1.0) for case in manifest.unlabeled]
    made = make_round(manifest, data, all_labels, labels, tmp_path / "round_1", "second")
    assert not made.test
    names = {path.name for path in (tmp_path / "round_1").rglob("*")}
    assert not names & {case.image.name for case in manifest.test}


def test_true_labels_of_unlabeled_cases_stay_away(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path
) -> None:
    """Phantoms have label files of all cases; a round must link the made one."""
    case = manifest.unlabeled[0]
    make_round(manifest, data, [label(case.case_id, 1.0)], labels, tmp_path / "r", "second")
    linked = [path.resolve() for path in (tmp_path / "r" / "dataset").rglob("*.nii.gz")]
    assert (labels / f"{case.case_id}.nii.gz").resolve() in linked
    assert data / "labels" / f"{case.case_id}.nii.gz" not in linked


def test_a_disk_without_symbolic_links_gets_copies(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    case = manifest.unlabeled[0]
    made = make_round(manifest, data, [label(case.case_id, 1.0)], labels, tmp_path / "r", "second")
    sources = {
        case.image: data / case.image,
        made.labeled[-1].label: labels / f"{case.case_id}.nii.gz",
    }
    for name, source in sources.items():
        copied = tmp_path / "r" / "dataset" / name
        assert copied.is_file()
        assert not copied.is_symlink()
        assert copied.read_bytes() == source.read_bytes()


def test_a_missing_label_file_is_named(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    case = manifest.unlabeled[0].case_id
    with pytest.raises(DataError, match=rf"{case}\.nii\.gz is missing"):
        make_round(manifest, data, [label(case, 1.0)], tmp_path, tmp_path / "r", "second")


def test_two_cases_may_share_a_label_file(
    data: Path, manifest: Manifest, labels: Path, tmp_path: Path
) -> None:
    first, (other, *rest) = manifest.labeled[0], manifest.unlabeled
    both = first, replace(other, label=first.label)
    shared = replace(manifest, labeled=both, unlabeled=tuple(rest))
    made = make_round(shared, data, [], labels, tmp_path / "round_1", "second")
    assert [case.label for case in made.labeled] == [first.label] * 2
