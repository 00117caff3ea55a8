"""Labels of unlabeled cases: on the grid of the image, with records, made once."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import Inferer
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ScaleIntensityd,
)
from torch import Tensor, nn

from medsemi.data.manifest import Case
from medsemi.data.rounds import PseudoLabel, read_pseudo_labels
from medsemi.data.writing import write_nifti
from medsemi.errors import CheckpointError, ConfigError, DataError
from medsemi.evaluation.protocol import WindowInference
from medsemi.evaluation.slice_protocol import SliceWindowInference, StretchedSliceInference
from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.views import Band, FrequencyViews, OnView
from medsemi.training import pseudo_labeling
from medsemi.training.checkpoint import save_weights
from medsemi.training.pseudo_labeling import PseudoLabeling, _described

AFFINE = np.array([[-2.0, 0, 0, 5], [0, 0, 3.0, 1], [0, 1.5, 0, 2], [0, 0, 0, 1]])
CASE = Case("one", "one", Path("images/one.nii.gz"), None)


class Threshold(nn.Module):
    """Foreground where the image exceeds `level`."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, image: Tensor) -> Tensor:
        above = image - self.level
        return torch.cat([-above, above], 1)


def probabilities(image: Tensor, network: nn.Module) -> Tensor:
    return network(image).softmax(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    write_nifti(tmp_path / CASE.image, values, AFFINE)
    return tmp_path


def labeling(data: Path, factor: float = 0.0, device: str = "cpu") -> PseudoLabeling:
    scaled = ScaleIntensityd("image", minv=None, maxv=None, factor=factor)
    transforms = [LoadImaged("image"), EnsureChannelFirstd("image"), scaled]
    oriented = Orientationd("image", axcodes="RAS", labels=None)
    return PseudoLabeling(
        network=Threshold(0.0),
        weights_dir=data / "weights",
        cases=[CASE],
        dataset_dir=data,
        preprocessing=Compose([*transforms, oriented]),
        inference=probabilities,
        output_dir=data / "made",
        device=device,
    )


def export(data: Path, **levels: float) -> None:
    for name, level in levels.items():
        save_weights(data / "weights" / f"{name}.pt", Threshold(level))


def test_a_gpu_that_is_not_here_is_told(data: Path) -> None:
    with pytest.raises(ConfigError, match="device is 'cuda:99'; take cpu"):
        labeling(data, device="cuda:99")


def test_the_label_lies_on_the_grid_of_the_image(data: Path) -> None:
    export(data, model=0.3, student=0.3, teacher=0.1)
    labeling(data).run()
    image = nibabel.load(data / CASE.image)
    label = nibabel.load(data / "made" / "labels" / "one.nii.gz")
    np.testing.assert_array_equal(label.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.asarray(image.dataobj) > 0.3)


def test_stability_is_the_agreement_with_the_other_networks(data: Path) -> None:
    export(data, model=0.3, student=0.3, teacher=0.1, snapshot_1=0.3, snapshot_2=0.6)
    (made,) = labeling(data).run()
    values = np.asarray(nibabel.load(data / CASE.image).dataobj)

    def dice(one: float, other: float) -> float:
        both = ((values > one) & (values > other)).sum()
        return float(2 * both / ((values > one).sum() + (values > other).sum()))

    assert made.agreement == pytest.approx(
        {"teacher": dice(0.3, 0.1), "snapshot_2": dice(0.3, 0.6)}
    )
    assert made.stability == pytest.approx(np.mean(list(made.agreement.values())))
    assert json.loads((data / "made" / "records" / "one.json").read_text()) == vars(made)


def test_an_empty_label_is_not_stable(data: Path) -> None:
    export(data, model=90.0, teacher=91.0)
    (made,) = labeling(data).run()
    assert (made.foreground, made.stability, made.agreement) == (0, 0.0, {"teacher": 1.0})


def test_a_finished_case_is_not_labeled_again(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    first = labeling(data).run()
    path = data / "made" / "labels" / "one.nii.gz"
    before = path.stat().st_mtime_ns
    assert labeling(data).run() == first
    assert path.stat().st_mtime_ns == before


def test_a_record_whose_label_is_gone_is_made_again(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    labeling(data).run()
    path = data / "made" / "labels" / "one.nii.gz"
    path.unlink()
    labeling(data).run()
    assert path.is_file()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SliceWindowInference((8, 8)), SliceWindowInference((8, 8), mirror_axes=(0, 1))),
        (StretchedSliceInference((8, 8)), StretchedSliceInference((16, 16))),
        (WindowInference((8, 8, 8)), WindowInference((8, 8, 8), mirror_axes=(2,))),
    ],
)
def test_another_inference_labels_again(before: Inferer, after: Inferer) -> None:
    assert _described(before) != _described(after)


def test_other_weights_label_again(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    (first,) = labeling(data).run()
    export(data, model=0.4)
    (second,) = labeling(data).run()
    assert second.origin["weights"] != first.origin["weights"]
    assert second.foreground < first.foreground


def test_another_preparation_labels_again(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    (first,) = labeling(data).run()
    (second,) = labeling(data, factor=1.0).run()
    assert second.origin["preprocessing"] != first.origin["preprocessing"]
    assert second.foreground > first.foreground


def test_another_image_under_the_same_name_is_labeled_again(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    (first,) = labeling(data).run()
    values = np.asarray(nibabel.load(data / CASE.image).dataobj)
    write_nifti(data / CASE.image, values + np.float32(0.2), AFFINE)
    (second,) = labeling(data).run()
    assert second.origin["image"] != first.origin["image"]
    assert second.foreground > first.foreground


def test_a_label_has_no_record_of_an_earlier_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two files, it would pass for a label of the weights before."""
    export(data, model=0.3, teacher=0.1)
    labeling(data).run()
    export(data, model=0.4)

    def killed(*_: object) -> PseudoLabel:
        raise KeyboardInterrupt

    monkeypatch.setattr(pseudo_labeling, "PseudoLabel", killed)
    with pytest.raises(KeyboardInterrupt):
        labeling(data).run()
    assert read_pseudo_labels(data / "made") == []


def test_an_image_that_is_missing_is_named(data: Path) -> None:
    export(data, model=0.3, teacher=0.1)
    (data / CASE.image).unlink()
    with pytest.raises(DataError, match=r"one\.nii\.gz cannot be read"):
        labeling(data).run()


def test_a_pair_of_teachers_labels_as_a_pair(data: Path) -> None:
    pair = NetworkPair(Threshold(0.3), Threshold(0.3))
    save_weights(data / "weights" / "model.pt", pair)
    export(data, student=0.1)
    (made,) = labeling(data).run()
    label = nibabel.load(data / "made" / "labels" / "one.nii.gz")
    values = np.asarray(nibabel.load(data / CASE.image).dataobj)
    np.testing.assert_array_equal(np.asarray(label.dataobj), values > 0.3)
    assert set(made.agreement) == {"student"}


def test_students_on_views_label_with_the_views_of_the_bundle(data: Path) -> None:
    # A view has mean 0 and standard deviation 1, the plain window of this test has not.
    def students(threshold: float) -> NetworkPair:
        bands: tuple[Band, Band] = ("low", "high")
        return NetworkPair(*(OnView(Threshold(threshold), FrequencyViews(), b) for b in bands))

    save_weights(data / "weights" / "model.pt", students(1.0))
    export(data, student=0.1)
    with pytest.raises(CheckpointError):
        labeling(data).run()
    asked = labeling(data)
    asked.special = {"students": students(0.0)}
    (made,) = asked.run()
    label = np.asarray(nibabel.load(data / "made" / "labels" / "one.nii.gz").dataobj)
    values = np.asarray(nibabel.load(data / CASE.image).dataobj)
    assert 0 < label.mean() < 0.5
    assert not np.array_equal(label, values > 1.0)
    assert set(made.agreement) == {"student"}


def test_an_unfinished_training_is_named(data: Path) -> None:
    with pytest.raises(CheckpointError, match="finish the training first"):
        labeling(data).run()


def test_one_network_alone_has_no_second_opinion(data: Path) -> None:
    export(data, model=0.3, student=0.3)
    with pytest.raises(CheckpointError, match="one network alone"):
        labeling(data).run()
