"""A preparation that a prediction would refuse is refused before anything is trained with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.bundle.merged import merge
from medsemi.bundle.preparation import preparation_mistake


def tree(repository: Path, bundle: str = "any_organ_bcp", **values: object) -> dict:
    configs = repository / "bundles" / bundle / "configs"
    merged = merge([configs / "common.yaml", configs / "train.yaml"], values)
    assert not merged.findings
    return merged.tree


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"spacing": [1.0, 1, 2.5], "clip": [-200, 300], "intensity_norm": "range"},
        {"intensity_norm": "none"},
        {"spacing": "$[1.0] * 3", "clip": "$(0, 1)", "intensity_norm": "$'zscore'"},
    ],
)
def test_what_a_prediction_takes_is_trained_with(repository: Path, values: dict) -> None:
    assert preparation_mistake(tree(repository, **values)) == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"spacing": 2.0}, "'spacing' is 2.0; it needs three lengths above 0, in mm, or null."),
        ({"spacing": [1, 1]}, "'spacing' is [1, 1]"),
        ({"spacing": [1, 1, 0]}, "'spacing' is [1, 1, 0]"),
        ({"clip": [300, -200]}, "'clip' is [300, -200]; it needs a least value and a greater one"),
        ({"clip": 300}, "'clip' is 300"),
        ({"intensity_norm": "zscores"}, "'intensity_norm' is \"zscores\"; it needs one of"),
        ({"intensity_norm": "minmax"}, "it needs one of none, zscore, range."),
        (
            {"intensity_norm": "range"},
            "'intensity_norm' is \"range\"; it needs a least and a greatest intensity in 'clip'.",
        ),
        ({"preparation::intensity": {"norms": "none"}}, "'intensity.norms' is not known"),
        ({"preparation::intensity::background": "air"}, "'intensity.background' is \"air\""),
        ({"preparation::intensity::norm": "max"}, "one of none, zscore, range, minmax."),
        ({"preparation": {"modality": "CT"}}, "'modality' is \"CT\""),
    ],
)
def test_what_a_prediction_refuses_is_refused(repository: Path, values: dict, words: str) -> None:
    sentence = preparation_mistake(tree(repository, **values))
    assert words in sentence
    assert sentence.endswith(".")


def test_bundles_with_one_preparation_have_nothing_to_check(repository: Path) -> None:
    assert preparation_mistake(tree(repository, "left_atrium_mri_bcp")) == ""
