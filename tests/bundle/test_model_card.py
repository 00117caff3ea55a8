"""The README of a trained network tells its training and commands that run as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsemi.bundle.model_card import model_card
from medsemi.data.manifest import Case, Manifest

CONTRACT = {"name": "heart_bundle", "spacing": None}
METADATA = {"name": "Ventricles", "intended_use": "Research only.", "medsemi": CONTRACT}


@pytest.fixture
def manifest() -> Manifest:
    cases = [
        Case(f"case {n}", f"patient {n}", f"secret/{n}.nii.gz", f"secret/{n}_label.nii.gz")
        for n in range(6)
    ]
    return Manifest(
        name="hospital",
        classes={0: "background", 1: "myocardium"},
        labeled=tuple(cases[:2]),
        unlabeled=tuple(cases[2:5]),
        validation=(cases[5],),
        test=(),
        digest="",
    )


def test_the_training_is_told(tmp_path: Path, manifest: Manifest) -> None:
    parameters = {"method": "urpc", "steps": "800", "seed": "3", "filters": "16"}
    (tmp_path / "run.json").write_text(json.dumps({"parameters": parameters}))
    card = model_card(METADATA, tmp_path, manifest)
    assert card.startswith("# Ventricles: a trained network\n\nResearch only.\n")
    assert "| training | method `urpc`, 800 steps, seed 3 |" in card
    assert "| cases | 2 labeled, 3 unlabeled |" in card
    assert "| labels | 0 background, 1 myocardium |" in card
    assert "| bundle | `heart_bundle` |" in card


def test_a_training_that_records_other_settings_is_told_as_far_as_it_goes(
    tmp_path: Path, manifest: Manifest
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"parameters": {"steps": "800", "rate": "1"}}))
    assert "| training | 800 steps |" in model_card(METADATA, tmp_path, manifest)
    (tmp_path / "run.json").write_text(json.dumps({"parameters": {}}))
    assert "| training |" not in model_card(METADATA, tmp_path, manifest)


def test_nobody_is_named_and_nothing_is_told_that_is_not_known(
    tmp_path: Path, manifest: Manifest
) -> None:
    card = model_card(METADATA, tmp_path, manifest)
    assert "patient" not in card
    assert "secret" not in card
    assert "hospital" not in card
    assert str(tmp_path) not in card
    assert "| training |" not in card
    assert "| images |" not in card
    assert "None" not in card


@pytest.mark.parametrize(
    ("spacing", "told"),
    [(None, "| voxels | as they are;"), ([1, 1, 2.5], "resampled to 1 x 1 x 2.5 mm")],
)
def test_voxels_are_those_of_the_preparation(
    tmp_path: Path, manifest: Manifest, spacing: list[float] | None, told: str
) -> None:
    metadata = {**METADATA, "medsemi": {**CONTRACT, "spacing": spacing}}
    assert told in model_card(metadata, tmp_path, manifest)
