"""Patients are never split, and a split changes no more than it must."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.data.splits import (
    FoundCase,
    SplitCounts,
    find_cases,
    patients_by_case,
    patients_by_expression,
    patients_by_prefix,
    split_cases,
    split_patients,
)
from medsemi.errors import ManifestError

NAMES = st.sets(st.text("abcxyz0123456789", min_size=1, max_size=8), min_size=8, max_size=30)
COUNTS = SplitCounts(labeled=3, validation=2, test=2)


def boundaries(roles: dict[str, str]) -> dict[str, int]:
    found = list(roles.values())
    return {role: found.count(role) for role in ("labeled", "validation", "test")}


@settings(deadline=None, max_examples=50)
@given(NAMES, st.integers(0, 100), st.randoms(use_true_random=False))
def test_same_seed_same_split_in_any_order(names: set[str], seed: int, random) -> None:
    listed = sorted(names)
    first = split_patients(listed, [], COUNTS, seed)
    random.shuffle(listed)
    assert split_patients(listed, [], COUNTS, seed) == first
    assert boundaries(first) == {"labeled": 3, "validation": 2, "test": 2}


@settings(deadline=None, max_examples=50)
@given(NAMES, st.integers(0, 100))
def test_a_new_patient_moves_at_most_one_at_each_boundary(names: set[str], seed: int) -> None:
    *old, new = sorted(names)
    before = split_patients(old, [], COUNTS, seed)
    after = split_patients([*old, new], [], COUNTS, seed)
    assert sum(before[name] != after[name] for name in old) <= 3


def test_a_new_patient_without_labels_moves_none() -> None:
    names = [f"p{i}" for i in range(10)]
    before = split_patients(names, [], COUNTS, 0)
    assert split_patients(names, ["new"], COUNTS, 0) == before | {"new": "unlabeled"}


@settings(deadline=None, max_examples=50)
@given(NAMES, st.integers(0, 100))
def test_more_labels_only_label_unlabeled_patients(names: set[str], seed: int) -> None:
    few = split_patients(names, [], COUNTS, seed)
    more = split_patients(names, [], SplitCounts(4, 2, 2), seed)
    changed = [(few[name], more[name]) for name in names if few[name] != more[name]]
    assert changed == [("unlabeled", "labeled")]


def test_another_seed_is_another_split() -> None:
    names = [f"p{i}" for i in range(30)]
    assert split_patients(names, [], COUNTS, 0) != split_patients(names, [], COUNTS, 1)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (SplitCounts(0), "none to train on"),
        (SplitCounts(1, -1), "-1 patients are for validation"),
        (SplitCounts(2, 1, 1), "4 patients with labels are asked for but there are 3"),
    ],
)
def test_impossible_counts(counts: SplitCounts, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        split_patients(["a", "b", "c"], ["d", "e"], counts, 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=20, max_size=60), st.integers(0, 50))
def test_a_patient_is_never_in_two_subsets(owners: list[int], seed: int) -> None:
    cases = [
        FoundCase(f"c{i}", Path(f"images/c{i}.nii"), None if i % 7 == 0 else Path(f"l/c{i}.nii"))
        for i in range(len(owners))
    ]
    patients = {f"c{i}": f"p{owner}" for i, owner in enumerate(owners)}
    complete = set(patients.values()) - {patients[c.case_id] for c in cases if not c.label}
    if not complete:
        return
    entries = split_cases(cases, patients, SplitCounts(1), seed)
    sets = [{entry["patient"] for entry in found} for found in entries.values()]
    assert sum(map(len, sets)) == len(set().union(*sets))
    assert sum(len(found) for found in entries.values()) == len(cases)
    assert all("label" in entry for entry in entries["labeled"])
    assert not any("label" in entry for entry in entries["unlabeled"])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_usual_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.nrrd", "images/a.nii.gz", "labels/a.nii.gz", "images/readme.txt",
          "images/.hidden.nii")  # fmt: skip
    assert find_cases(tmp_path) == (
        FoundCase("a", Path("images/a.nii.gz"), Path("labels/a.nii.gz")),
        FoundCase("b", Path("images/b.nrrd"), None),
    )


@pytest.mark.parametrize("pattern", ["{}/{{case}}", "{}/{{case}}.nii.gz"])
def test_suffixes_in_capitals_are_the_same(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, "images/a.nii.gz", "images/b.NII.GZ", "labels/a.Nii.gz", "labels/b.nii.gz")
    assert find_cases(tmp_path, pattern.format("images"), pattern.format("labels")) == (
        FoundCase("a", Path("images/a.nii.gz"), Path("labels/a.Nii.gz")),
        FoundCase("b", Path("images/b.NII.GZ"), Path("labels/b.nii.gz")),
    )


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii")
    try:
        (tmp_path / "images" / os.fsdecode(b"M\xfcller.nii")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(
        ManifestError, match=r"images/M\\xfcller.nii: this name is not UTF-8; rename"
    ):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "files"),
    [
        ("imagesTr/{case}_0000.nii.gz", "labelsTr/{case}.nii.gz",
         ("imagesTr/x_1_0000.nii.gz", "labelsTr/x_1.nii.gz")),
        ("{case}/image.nii", "{case}/label.nii", ("x_1/image.nii", "x_1/label.nii")),
        ("{case}/{case}_mri", "{case}/{case}_seg", ("x_1/x_1_mri.nii.gz", "x_1/x_1_seg.mha")),
    ],
)  # fmt: skip
def test_patterns(tmp_path: Path, images: str, labels: str, files: tuple[str, str]) -> None:
    touch(tmp_path, *files)
    (found,) = find_cases(tmp_path, images, labels)
    assert found == FoundCase("x_1", Path(files[0]), Path(files[1]))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("images/a.nii", "images/a.nii.gz"), "has a second file"),
        (("images/a.nii", "labels/a.nii", "labels/a.nrrd"), "has a second file"),
        (("images/a.nii", "labels/b.nii"), "this label has no image"),
        (("other/a.nii",), "no image matches"),
    ],
)
def test_doubtful_folders(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(ManifestError, match=words):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "files"),
    [
        ("{case}", "{case}_seg", ("P0.nii.gz", "P0_seg.nii.gz", "P1.nii.gz", "P1_seg.nii.gz")),
        ("{case}_mr", "{case}", ("P0_mr.nii.gz", "P0.nii.gz", "P1_mr.nii.gz", "P1.nii.gz")),
    ],
)
def test_in_a_flat_folder_a_label_is_no_image_and_an_image_no_label(
    tmp_path: Path, images: str, labels: str, files: tuple[str, ...]
) -> None:
    """Each file belongs to the pattern that says more of its name."""
    touch(tmp_path, *files)
    assert find_cases(tmp_path, images, labels) == (
        FoundCase("P0", Path(files[0]), Path(files[1])),
        FoundCase("P1", Path(files[2]), Path(files[3])),
    )
    (tmp_path / files[0]).unlink()
    with pytest.raises(ManifestError, match=rf"{files[1]}: this label has no image"):
        find_cases(tmp_path, images, labels)


@pytest.mark.parametrize(
    ("images", "labels", "name"),
    [("{case}", "{case}", "a.nii"), ("mr_{case}", "{case}_ct", "mr_a_ct.nii")],
)
def test_a_file_that_may_be_both_is_refused(
    tmp_path: Path, images: str, labels: str, name: str
) -> None:
    touch(tmp_path, name)
    with pytest.raises(ManifestError, match=rf"{name}: this file matches .* for images as well as"):
        find_cases(tmp_path, images, labels)


def test_a_pattern_without_a_place_for_the_case(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="must hold"):
        find_cases(tmp_path, "images/*.nii")


def test_patients_of_cases() -> None:
    ids = ["p1_a", "p1_b", "p2_a"]
    expected = {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
    assert patients_by_prefix(ids, "_") == expected
    assert patients_by_expression(ids, r"(p\d)_.") == expected
    assert patients_by_expression(ids, r"p\d") == expected
    assert patients_by_case(ids, is_certain=True)["p1_b"] == "p1_b"
    assert patients_by_case(["001", "002"], is_certain=False) == {"001": "001", "002": "002"}


def test_doubtful_patients() -> None:
    with pytest.raises(ManifestError, match="may be of one patient"):
        patients_by_case(["p1_a", "p1_b"], is_certain=False)
    with pytest.raises(ManifestError, match="'p1' does not match"):
        patients_by_prefix(["p1"], "_")
    with pytest.raises(ManifestError, match="no regular expression"):
        patients_by_expression(["p1"], "(")
