"""Scores are on the grid of the files, whatever grid the network works on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    Spacingd,
)
from torch.nn import functional

from medsemi.data.manifest import Case
from medsemi.data.volumes import Volume, VolumeStore
from medsemi.evaluation.evaluate import References, evaluate_cases
from medsemi.training.reference_grid import decide_on_reference

KEYS = ["image", "label"]
SHAPE, SPACING = (31, 40, 17), (-0.8, 0.8, 2.0)
CASE = Case("one", "one", Path("image.nii.gz"), Path("label.nii.gz"))


def transforms(spacing: tuple[float, ...] | None) -> Compose:
    steps = [
        LoadImaged(KEYS, allow_missing_keys=True),
        EnsureChannelFirstd(KEYS, allow_missing_keys=True),
        Orientationd(KEYS, "RAS", labels=None, allow_missing_keys=True),
    ]
    if spacing is not None:
        steps.append(Spacingd(KEYS, spacing, mode=("bilinear", "nearest"), allow_missing_keys=True))
    return Compose(steps)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A ball whose intensity falls linearly through 0.5 at its surface, and its label."""
    grid = np.indices(SHAPE) * np.abs(SPACING).reshape(3, 1, 1, 1)
    center = np.array([12.0, 16.0, 15.0]).reshape(3, 1, 1, 1)
    depth = 9.0 - np.sqrt(((grid - center) ** 2).sum(0))
    affine = np.diag([*SPACING, 1.0])
    image = np.clip(0.5 + depth / 8, 0, 1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "image.nii.gz")
    label = (depth > 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
    return tmp_path


def says_the_image(images: torch.Tensor, _: object) -> torch.Tensor:
    return torch.cat([1 - images, images], dim=1)


def prepared(data: Path, spacing: tuple[float, ...]) -> tuple[Volume, Volume]:
    store = VolumeStore(data, transforms(spacing), data / "cache")
    references = store.references([CASE])
    assert references is not None
    return store.volume(CASE, True), references[0]


def test_what_is_not_resampled_has_no_other_reference(data: Path) -> None:
    assert VolumeStore(data, transforms(None), data / "cache").references([CASE]) is None


@pytest.mark.parametrize("spacing", [(1.6, 1.6, 2.0), (0.5, 0.6, 1.0), (0.8, 0.8, 2.0)])
def test_labels_are_those_of_monais_own_inversion(data: Path, spacing: tuple[float, ...]) -> None:
    volume, reference = prepared(data, spacing)
    assert reference.image.shape[1:] == SHAPE
    probabilities = says_the_image(torch.from_numpy(np.array(volume.image))[None], None)
    labels = decide_on_reference(probabilities, volume, reference)
    preprocessing = transforms(spacing)
    item = preprocessing({"image": str(data / "image.nii.gz")})
    item["pred"] = MetaTensor(probabilities[0], meta=item["image"].meta)
    invert = Invertd("pred", preprocessing, "image", nearest_interp=False)
    inverted = np.asarray(invert(item)["pred"].argmax(0))[::-1]  # the file's first axis runs left
    inside = (slice(2, -2),) * 3  # at the border MONAI pads
    assert labels.dtype == np.uint8
    assert (labels[inside] != inverted[inside]).mean() < 0.001


def test_of_several_classes_the_greatest_interpolated_logit_wins() -> None:
    logits = 3 * torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    coarse = SimpleNamespace(image=np.zeros((1, 4, 4, 4)), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    fine = SimpleNamespace(image=np.zeros((1, 7, 7, 7)), affine=np.eye(4))

    def enlarged(values: torch.Tensor) -> np.ndarray:
        size, mode = (7, 7, 7), "trilinear"
        every = functional.interpolate(values, size, mode=mode, align_corners=True)
        return every[0].argmax(0).numpy()

    labels = decide_on_reference(logits.softmax(1), coarse, fine)
    np.testing.assert_array_equal(labels, enlarged(logits.log_softmax(1)))
    assert (labels != enlarged(logits.softmax(1))).any()


def test_a_coarse_network_is_compared_with_the_whole_reference(data: Path) -> None:
    volume, reference = prepared(data, (1.6, 1.6, 2.0))
    shared = ({"n": torch.nn.Identity()}, [volume], says_the_image, {0: "no", 1: "ball"})
    ours = evaluate_cases(
        *shared, data / "ours", "cpu", references=References([reference], decide_on_reference)
    )
    probabilities = says_the_image(torch.from_numpy(np.array(volume.image))[None], None)
    labels = decide_on_reference(probabilities, volume, reference)[::-1]  # as the file lies
    label = np.asarray(nibabel.load(data / "label.nii.gz").dataobj)
    expected = 2 * (labels & label).sum() / (labels.sum() + label.sum())
    assert ours["n"].overall.metrics["dice"].mean == pytest.approx(expected)
    assert 0.97 < expected < 1
    coarse = evaluate_cases(*shared, data / "coarse", "cpu")
    assert coarse["n"].overall.metrics["dice"].mean != pytest.approx(expected)
    for folder, word in (("ours", "interpolated"), ("coarse", "nothing was resampled")):
        conventions = json.loads((data / folder / "summary.json").read_text())["conventions"]
        assert word in conventions["grid"]
