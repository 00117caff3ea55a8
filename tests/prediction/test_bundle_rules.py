"""Transforms for which a bundle is refused, and chains that look like them and are sound."""

from __future__ import annotations

from typing import Any

import pytest

from medsemi.prediction.bundle_rules import label_interpolation, overlapping_structures


def step(target: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": target, **settings}


ARGMAX = step("monai.transforms.AsDiscreted", keys="pred", argmax=True)
INVERT = step("monai.transforms.Invertd", keys="pred", nearest_interp=False)
SOFTMAX = step("Activationsd", keys="pred", softmax=True)


def compose(*chain: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(chain)}


@pytest.mark.parametrize(
    "chain",
    [
        [ARGMAX, INVERT],
        [SOFTMAX, step("AsDiscreteD", keys=["pred"], threshold=0.5), step("Invertd", keys=["pred", "x"])],
        [compose(ARGMAX), compose(step("SpacingDict", keys="pred", pixdim=1))],
        [step("AsDiscrete", argmax=True), step("Resize", spatial_size=3)],
        ["@argmax", "@chain::0"],
    ],
)  # fmt: skip
def test_resampled_label_maps_are_found(chain: list[Any]) -> None:
    config = {"postprocessing": compose(*chain), "argmax": ARGMAX, "chain": [INVERT]}
    if "@chain::0" in chain:
        config["postprocessing"] = compose(ARGMAX, "@invert")
        config["invert"] = INVERT
    assert "resamples label maps" in (label_interpolation(config) or "")


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [INVERT, ARGMAX],
        [SOFTMAX, INVERT, ARGMAX, step("SaveImaged", keys="pred")],
        [step("AsDiscreted", keys="pred", argmax=False, to_onehot=2), INVERT],
        [step("AsDiscreted", keys="label", argmax=True), INVERT],
        [{**ARGMAX, "_disabled_": True}, INVERT],
        [ARGMAX, {**INVERT, "keys": "image"}],
    ],
)
def test_sound_chains_pass(chain: list[Any]) -> None:
    assert label_interpolation({"postprocessing": compose(*chain)}) is None
    assert label_interpolation({"postprocessing": "@post", "post": compose(*chain)}) is None


def test_labels_interpolated_before_the_network_are_found() -> None:
    spacing = step(
        "Spacingd", keys=["image", "label"], pixdim=[1, 1, 1], mode=["bilinear", "bilinear"]
    )
    assert "interpolates labels" in (label_interpolation({"preprocessing": compose(spacing)}) or "")
    spacing["mode"] = ["bilinear", "nearest"]
    assert label_interpolation({"preprocessing": compose(spacing)}) is None
    alone = step("Spacingd", keys="image", pixdim=[1, 1, 1])
    assert label_interpolation({"preprocessing": compose(alone)}) is None


def test_a_reference_to_itself_ends() -> None:
    assert label_interpolation({"postprocessing": "@postprocessing"}) is None


@pytest.mark.parametrize(("sigmoid", "found"), [(True, True), (False, False), ("$False", False)])
def test_structures_that_may_overlap_are_found(sigmoid: Any, found: bool) -> None:
    config = {"postprocessing": compose(step("Activationsd", keys="pred", sigmoid=sigmoid), INVERT)}
    assert (overlapping_structures(config) is not None) is found
