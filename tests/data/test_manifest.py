"""What a manifest file may say, and in which words it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsemi.data.manifest import Case, load_manifest, parse_manifest, save_manifest
from medsemi.errors import ManifestError


def document(**changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": "small",
        "classes": {"0": "background", "1": "organ"},
        "image": "images/{case}.nii.gz",
        "label": "labels/{case}.nii.gz",
        "labeled": ["a", "b"],
        "unlabeled": ["c"],
        "validation": ["d"],
        "test": ["e"],
    }
    result.update(changes)
    return {key: value for key, value in result.items() if value is not None}


def test_ids_become_cases_by_the_patterns() -> None:
    manifest = parse_manifest(document(), "m.json")
    assert manifest.labeled[0] == Case("a", "a", Path("images/a.nii.gz"), Path("labels/a.nii.gz"))
    assert [case.case_id for case in manifest.cases("labeled")] == ["a", "b"]
    assert manifest.classes == {0: "background", 1: "organ"}
    assert manifest.test[0].label == Path("labels/e.nii.gz")


def test_an_entry_may_give_patient_and_paths() -> None:
    entry = {"case": "p_1", "patient": "p", "image": "x/p1.nii", "label": "y/p1.nii"}
    manifest = parse_manifest(document(labeled=[entry], image=None, label=None, unlabeled=[],
                                       validation=[], test=[]), "m.json")  # fmt: skip
    assert manifest.labeled == (Case("p_1", "p", Path("x/p1.nii"), Path("y/p1.nii")),)


def test_an_unlabeled_case_never_has_a_label() -> None:
    entry = {"case": "c", "label": "labels/c.nii.gz"}
    assert parse_manifest(document(unlabeled=[entry]), "m.json").unlabeled[0].label is None


def test_digest_ignores_key_order_and_prose_and_sees_roles_order_and_paths() -> None:
    first = document(labeled=[{"case": "a", "patient": "p"}])
    turned = {key: first[key] for key in reversed(first)}
    turned["labeled"] = [{"patient": "p", "case": "a"}]
    turned["classes"] = {"1": "organ", "0": "background"}
    digest = parse_manifest(first, "m.json").digest
    assert len(digest) == 64
    assert parse_manifest(turned | {"description": "other words"}, "n.json").digest == digest
    others = [
        document(labeled=["a"]),
        first | {"unlabeled": ["d"], "validation": ["c"]},
        first | {"image": "other/{case}.nii.gz"},
        first | {"classes": {"0": "background", "1": "other"}},
    ]
    assert digest not in {parse_manifest(other, "m.json").digest for other in others}
    straight = parse_manifest(document(), "m.json").digest
    assert straight != parse_manifest(document(labeled=["b", "a"]), "m.json").digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labelled": ["a"]}, "unknown key 'labelled'; did you mean 'labeled'"),
        ({"xyz": 1}, "unknown key 'xyz'; allowed are"),
        ({"labeled": [{"case": "a", "pateint": "p"}]}, "did you mean 'patient'"),
        ({"labeled": []}, "'labeled' is empty"),
        ({"labeled": None}, "'labeled' is empty"),
        ({"labeled": ["a", "a"]}, "'a' is listed twice"),
        ({"unlabeled": ["b"]}, "'b' is listed twice"),
        ({"unlabeled": [{"case": "c", "image": "images/a.nii.gz"}]}, "belongs to two cases"),
        (
            {"unlabeled": [{"case": "c", "image": "labels/a.nii.gz"}]},
            "the image labels/a.nii.gz of the case 'c' is the label of the case 'a'; take",
        ),
        (
            {"labeled": [{"case": "a", "image": "labels/e.nii.gz"}]},
            "of the case 'a' is the label of the case 'e'",
        ),
        (
            {"image": "{case}.nii", "label": "{case}_seg.nii", "unlabeled": ["c", "c_seg"]},
            "the image c_seg.nii of the case 'c_seg' is the label of the case 'c'",
        ),
        (
            {"labeled": [{"case": "a", "label": "images/a.nii.gz"}]},
            "'a' is the label of the case 'a'",
        ),
        ({"test": [{"case": "e", "patient": "a"}]}, "'a' is in two subsets"),
        ({"test": [{"case": "e", "patient": " a "}]}, "'a' is in two subsets"),
        ({"test": [{"case": "e", "patient": " "}]}, "'patient' is empty; name whose it is"),
        ({"name": None}, "'name' is missing"),
        ({"name": 3}, "'name' must be text"),
        ({"classes": None}, "at least two label values"),
        ({"classes": {"0": "background"}}, "at least two label values"),
        ({"classes": {"0": "background", "2": "organ"}}, "without gaps"),
        ({"classes": {"0": "background", "1": 1}}, "'1' must be text"),
        (
            {"classes": {"0": "background", "1": "kidney", "2": "kidney"}},
            "the values 1 and 2 have the name 'kidney'; give each",
        ),
        ({"classes": {"0": "background", "1": " background"}}, "the values 0 and 1 have the name"),
        ({"classes": {"0": "background", "1": ""}}, "the value 1 has no name; name"),
        ({"classes": {"0": "background", "1": "  "}}, "the value 1 has no name"),
        ({"image": None}, "no image"),
        ({"label": None}, "no label"),
        ({"image": "images/x.nii.gz"}, "must hold {case}"),
        ({"labeled": "a"}, "must be a list"),
        ({"labeled": [1]}, "1 is no case"),
        ({"labeled": ["../a"]}, "no usable case id"),
        ({"labeled": [{"case": "a", "image": "/data/a.nii"}]}, "leaves the dataset folder"),
        ({"labeled": [{"case": "a", "image": "../a.nii"}]}, "leaves the dataset folder"),
    ],
)
def test_refusals_name_the_origin_and_the_fault(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parse_manifest(document(**changes), "m.json")
    message = str(refused.value)
    assert message.startswith("m.json")
    assert words in message
    assert "\n" not in message


def test_a_test_case_needs_no_label_and_a_list_may_be_absent() -> None:
    labeled = [{"case": "a", "label": "labels/a.nii.gz"}]
    manifest = parse_manifest(
        document(label=None, labeled=labeled, unlabeled=None, validation=None), "m.json"
    )
    assert manifest.test[0].label is None
    assert manifest.unlabeled == ()
    assert manifest.validation == ()


def test_files_round_trip_and_a_bad_document_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    saved = save_manifest(document(), path)
    assert load_manifest(path) == saved
    with pytest.raises(ManifestError):
        save_manifest(document(labeled=[]), tmp_path / "bad.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"name": "x",}', "not valid JSON at line 1"),
        (b'{"name": "x", "name": "y"}', "'name' appears twice"),
        (b"[]", "one JSON object"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=words):
        load_manifest(path)


def test_missing_file_and_byte_order_mark(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.json: the manifest cannot be read"):
        load_manifest(tmp_path / "absent.json")
    path = tmp_path / "m.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert load_manifest(path).name == "small"
