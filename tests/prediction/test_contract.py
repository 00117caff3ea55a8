"""Values of a bundle's contract that would only be missed after the network ran, or blame the scans."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsemi.prediction.codes import RunStopped
from medsemi.prediction.model import Model, load_model

CONTRACT: dict[str, Any] = {"modality": ["CT"], "labels": {"1": {"name": "organ"}}}
KEYS = (
    *("name", "modality", "labels", "spacing", "orientation", "intensity", "min_slices"),
    *("max_volumes", "body_part", "training_ranges", "agreement_limit"),
)
CODE = ["SCT", "82471001", "Left atrium"]


def load(folder: Path, **entries: Any) -> Model:
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    metadata = {"version": "1", "medsemi": CONTRACT | entries}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return load_model(folder)


def label(**entries: Any) -> dict[str, Any]:
    return {"labels": {"1": {"name": "organ", **entries}}}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"modality": "CT"}, '\'modality\' is "CT"; it needs a list of texts, such as ["CT"]'),
        ({"modality": ["CT", 3]}, "'modality' is [\"CT\", 3]; it needs a list of texts"),
        ({"modality": [" "]}, "'modality' is [\" \"]; it needs a list of texts"),
        ({"max_volumes": 0}, "'max_volumes' is 0; it needs a whole number of at least 1"),
        ({"max_volumes": True}, "'max_volumes' is true; it needs a whole number"),
        ({"min_slices": 0}, "'min_slices' is 0; it needs a whole number of at least 1"),
        ({"min_slices": 2.5}, "'min_slices' is 2.5; it needs a whole number"),
        ({"min_slices": None}, "'min_slices' is null; it needs a whole number"),
        (
            {"training_ranges": {"fov_least_mm": [1.0]}},
            "'training_ranges.fov_least_mm' is [1.0]; it needs a least value and a greatest one",
        ),
        ({"training_ranges": {"fov_least_mm": [2, 1]}}, "'training_ranges.fov_least_mm' is [2, 1]"),
        ({"training_ranges": {"x": [1, math.nan]}}, "'training_ranges.x' is [1, NaN]; it needs"),
        ({"training_ranges": [1, 2]}, "'training_ranges' is [1, 2]; it needs an object"),
        ({"intensity": {"background": "air"}}, "'intensity.background' is \"air\"; it needs a fin"),
        ({"intensity": {"background": math.inf}}, "'intensity.background' is Infinity; it needs"),
        ({"intensity": {"clip": [0, math.inf]}}, "'intensity.clip' is [0, Infinity]; it needs a"),
        ({"intensity": {"clip": 5}}, "'intensity.clip' is 5; it needs a least value and a greater"),
        ({"intensity": None}, "'intensity' is null; it needs an object"),
        ({"spacing": [1, 1, math.inf]}, "'spacing' is [1, 1, Infinity]; it needs three lengths ab"),
        ({"spacing": [1, 1]}, "'spacing' is [1, 1]; it needs three lengths above 0, in mm"),
        ({"spacing": [1, 1, 10**400]}, "…; it needs three lengths above 0, in mm"),
        ({"orientation": ["R", "A", "S"]}, '\'orientation\' is ["R", "A", "S"]; it needs a text'),
        ({"agreement_limit": None}, "'agreement_limit' is null; it needs a finite number"),
        ({"body_part": ["CHEST"]}, "'body_part' is [\"CHEST\"]; it needs a text"),
        ({"name": ["x"]}, "'name' is [\"x\"]; it needs a text"),
        ({"labels": [{"name": "organ"}]}, '\'labels\' is [{"name": "organ"}]; it needs an object'),
        ({"labels": {"1": "organ"}}, "'labels.1' is \"organ\"; it needs an object"),
        (label(color=[300, 0, 0]), "'labels.1.color' is [300, 0, 0]; it needs red, green and blue"),
        (label(color=[30, 0]), "'labels.1.color' is [30, 0]; it needs red, green and blue"),
        (label(color=[0.5, 0, 0]), "'labels.1.color' is [0.5, 0, 0]; it needs red, green and b"),
        (label(type=CODE[:2]), '\'labels.1.type\' is ["SCT", "82471001"]; it needs scheme, value'),
        (label(type=[*CODE[:2], ""]), '\'labels.1.type\' is ["SCT", "82471001", ""]; it needs'),
        (label(category=[1, 2, 3]), "'labels.1.category' is [1, 2, 3]; it needs scheme, value and"),
        (label(category=[*CODE[:2], "x" * 65]), "; it needs scheme, value and meaning of a DICOM"),
        ({"name": "\ud800", "min_slices": "\ud800"}, "'min_slices' is \"\\ud800\"; it needs"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(
    entries: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(RunStopped) as stop:
        load(tmp_path, **entries)
    assert stop.value.finding.code == "E10"
    assert words in stop.value.finding.text
    assert "configs/metadata.json, key 'medsemi': '" in stop.value.finding.text
    stop.value.finding.text.encode()


def test_what_may_be_absent_or_null_is_what_it_was(tmp_path: Path) -> None:
    usual = load(tmp_path / "a", spacing=None, orientation=None, body_part=None)
    assert (usual.spacing, usual.orientation, usual.body_part) == (None, None, "")
    assert usual.intensity.background is None
    given = load(
        tmp_path / "b",
        modality=["ct", "any"],
        spacing=[1, 0.5, 2],
        intensity={"clip": [-200, 300], "norm": "range", "background": -1024},
        training_ranges={"fov_least_mm": [3.0, 3.0]},
        min_slices=1,
        **label(type=CODE, color=[0, 255, 7]),
    )
    assert (given.modality, given.spacing, given.min_slices) == (("CT", "any"), (1, 0.5, 2), 1)
    assert (given.intensity.clip, given.intensity.background) == ((-200, 300), -1024)
    assert given.training_ranges == {"fov_least_mm": (3.0, 3.0)}
    assert (given.labels[0].type, given.labels[0].color) == (tuple(CODE), (0, 255, 7))


def test_nothing_that_json_holds_ends_in_another_error(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    leaves = [None, True, 0, -1, 10**400, 2.5, math.nan, math.inf, "", "1", "CT", "\ud800", [], {}]

    def value(depth: int) -> Any:
        kind = draw.integers(6)
        inner = [value(depth - 1) for _ in range(draw.integers(4))] if depth else []
        if kind == 0:
            return inner
        if kind == 1:
            names = ["1", "2", "name", "color", "type", "clip", "norm", "background"]
            return dict(zip(draw.permutation(names).tolist(), inner, strict=False))
        return leaves[draw.integers(len(leaves))]

    for _ in range(400):
        chosen = draw.permutation(list(KEYS))[: draw.integers(1, 4)].tolist()
        entries = {key: value(3) for key in chosen}
        try:
            load(tmp_path, **entries)
        except RunStopped as stop:
            assert stop.finding.code == "E10"  # noqa: PT017
