"""Dice beside the agreement is that of every other table."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from medsemi.data.manifest import load_manifest, save_manifest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import agreement

    return agreement


def test_a_structure_that_neither_side_has_is_right(agreement: ModuleType, tmp_path: Path) -> None:
    document = {
        "name": "small",
        "classes": {"0": "background", "1": "organ", "2": "tumor"},
        "image": "{case}.nii.gz",
        "label": "labels/{case}.nii.gz",
        "labeled": ["a"],
        "unlabeled": [],
        "validation": ["b"],
        "test": [],
    }
    save_manifest(document, tmp_path / "manifest.json")
    labels, half = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    labels[:2], half[:1] = 1, 1
    results = tmp_path / "out" / "cases" / "b"
    for path, values in (
        (tmp_path / "labels" / "b.nii.gz", labels),
        (results / "seg.nii.gz", half),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    record = {"agreement": {"organ": 0.9, "tumor": None}}
    (results / "case.json").write_text(json.dumps(record))
    manifest = load_manifest(tmp_path / "manifest.json")
    (told,) = agreement.scores(manifest, tmp_path, tmp_path / "out")
    assert told == ("b", 0.9, pytest.approx((2 / 3 + 1) / 2))
