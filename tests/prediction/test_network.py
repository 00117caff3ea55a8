"""Cases through a small network: labels, agreement, refusals."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from medsemi.prediction.case import Grid
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))
CASE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_case.py"))))
SHAPE, make_case, make_volume = CASE.SHAPE, CASE.make_case, CASE.make_volume
distances, shells, codes = CASE.distances, CASE.shells, CASE.codes
Make = Callable[..., Segmenter]


def monai_labels(values: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    """What MONAI's inferer and argmax give on the same grid, in the bundle's orientation LPS."""
    inferer = SlidingWindowInferer((16, 16, 16), 1, 0.5, "gaussian")
    image = torch.from_numpy(values.astype(np.float32))[None, None]
    with torch.inference_mode():
        scores = inferer(image, SMALL.brightness_network(classes))
    assert isinstance(scores, Tensor)
    labels: np.ndarray[Any, Any] = scores[0].argmax(dim=0).numpy()
    return labels


def test_labels_equal_those_of_monai_where_nothing_is_resampled(make: Make, grid: Grid) -> None:
    values = shells(grid, 4)
    segmenter = make(4, contract={"orientation": "LPS"}, config={"inferer": SMALL.MONAI_WINDOW})
    result = segmenter.segment(make_case(grid), make_volume(values))
    assert result.labels.shape == SHAPE
    assert result.labels.dtype == np.uint8
    assert set(np.unique(result.labels)) == {0, 1, 2, 3}
    assert (result.labels == monai_labels(values, 4)).mean() >= 0.9999
    assert result.slice_labels is result.labels
    assert result.memory_mode == 2
    assert result.agreement == {}
    assert result.findings == ()
    assert result.seconds.keys() == {"resample", "network", "back"}
    assert all(seconds > 0 for seconds in result.seconds.values())


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL"])
def test_the_orientation_of_the_network_does_not_show(
    make: Make, grid: Grid, orientation: str
) -> None:
    """The network is symmetric, so that any orientation gives the same labels."""
    values = shells(grid)
    result = make(contract={"orientation": orientation}).segment(
        make_case(grid), make_volume(values)
    )
    expected = make(contract={"orientation": "LPS"}).segment(make_case(grid), make_volume(values))
    assert (result.labels == expected.labels).mean() > 0.995


def neighbor() -> nn.Module:
    """Says of each voxel what the one before it on the first axis is; surely that it is bright alone.

    So the mean over forms and windows is bright where one of them is, also at a window's edge.
    """
    network = nn.Conv3d(1, 2, 3, padding=1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[1, 0, 0, 1, 1] = 10.0
        network.bias.copy_(torch.tensor([0.0, -0.2]))
    return network


@pytest.mark.parametrize(
    ("orientation", "mirror_axes", "before", "after"),
    [("LPS", [], True, False), ("RAS", [], False, True), ("LPS", [0], True, True)],
)
def test_orientation_and_mirrors_reach_the_network(
    make: Make, grid: Grid, orientation: str, mirror_axes: list[int], before: bool, after: bool
) -> None:
    """The image is LPS; in RAS, or mirrored, what comes before a voxel is what comes after it."""
    inferer = {**SMALL.WINDOW, "mirror_axes": mirror_axes}
    segmenter = make(
        contract={"orientation": orientation},
        config={"inferer": inferer},
        weights={"model": neighbor()},
    )
    values = np.random.default_rng(0).random(SHAPE) > 0.5
    labels = segmenter.segment(make_case(grid), make_volume(values)).labels
    expected = before & values[:-2] | after & values[2:]
    np.testing.assert_array_equal(labels[1:-1], expected)


def test_labels_follow_the_sphere_on_another_spacing(make: Make, grid: Grid) -> None:
    inside = distances(grid) < 10
    values = np.where(inside, 1.0, 0.0)
    segmenter = make(contract={"spacing": [0.9, 0.9, 0.9], "orientation": "RAS"})
    labels = segmenter.segment(make_case(grid), make_volume(values)).labels
    dice = 2 * (labels.astype(bool) & inside).sum() / (labels.sum() + inside.sum())
    assert dice > 0.95


class Failing(nn.Conv3d):
    """Fails where an image is bright."""

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "meta" and image.max() > 5:
            raise IndexError("list index out of range\nin a line of its own")
        scores: Tensor = super().forward(image)
        return scores


def test_a_network_that_fails_is_named(make: Make, grid: Grid) -> None:
    segmenter = make()
    segmenter.networks[0].__class__ = Failing
    segmenter.segment(make_case(grid), make_volume(shells(grid)))
    with pytest.raises(CaseRefused, match=r"E02 .*IndexError: list index out of range\."):
        segmenter.segment(make_case(grid), make_volume(10 * shells(grid)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(make: Make, grid: Grid, value: float) -> None:
    """A broken weight must not come out as a label map."""
    segmenter = make()
    with torch.no_grad():
        segmenter.networks[0].bias[0] = value
    with pytest.raises(CaseRefused, match=r"E02 .*no numbers"):
        segmenter.segment(make_case(grid), make_volume(distances(grid)))


def test_student_and_teacher_are_compared(make: Make, grid: Grid) -> None:
    student, teacher = (SMALL.brightness_network(3, shift=shift) for shift in (0.0, 0.3))
    weights = {"model": student, "student": student, "teacher": teacher}
    values = shells(grid, 3)
    contract = {"orientation": "LPS", "agreement_limit": 0.9}
    both = make(3, weights=weights, contract=contract)
    steps: list[float] = []
    result = both.segment(make_case(grid), make_volume(values), steps.append)
    alone = [
        make(3, weights={"model": one}, contract=contract).segment(
            make_case(grid), make_volume(values)
        )
        for one in (student, teacher)
    ]
    assert np.array_equal(result.labels, alone[0].labels)
    for number in (1, 2):
        one, other = (part.labels == number for part in alone)
        dice = 2 * (one & other).sum() / (one.sum() + other.sum())
        assert result.agreement[f"structure {number}"] == pytest.approx(dice)
    low = [name for name, dice in result.agreement.items() if dice is not None and dice < 0.9]
    assert low
    assert codes(result) == ["W08"] * len(low)
    assert steps == sorted(steps)
    assert steps[-1] == pytest.approx(1)


def test_what_is_found_nowhere_has_no_agreement(make: Make, grid: Grid) -> None:
    same = SMALL.brightness_network(2)
    weights = {"model": same, "student": same, "teacher": same}
    result = make(weights=weights).segment(make_case(grid), make_volume(np.zeros(SHAPE)))
    assert result.agreement == {"structure 1": None}
    assert result.findings == ()


def test_labels_at_the_true_slices_of_a_filled_stack(make: Make, grid: Grid) -> None:
    present = tuple(float(k) for k in range(SHAPE[2]) if k not in (7, 8))
    case = make_case(grid, slice_index=present)
    result = make().segment(case, make_volume(shells(grid)))
    assert np.array_equal(result.slice_labels, result.labels[:, :, [int(k) for k in present]])
    regular = make_case(grid, slice_index=tuple(float(k) for k in range(SHAPE[2])))
    result = make().segment(regular, make_volume(shells(grid)))
    assert result.slice_labels is result.labels


def test_labels_between_the_slices_of_an_uneven_stack(make: Make, grid: Grid) -> None:
    case = make_case(grid, slice_index=(0.0, 1.0, 2.5, 10.25, 21.0))
    values = shells(grid)
    result = make().segment(case, make_volume(values))
    assert result.slice_labels.shape == (*SHAPE[:2], 5)
    assert np.array_equal(result.slice_labels[:, :, 1], result.labels[:, :, 1])
    between = [
        (result.labels[:, :, 10] & result.labels[:, :, 11]).sum(),
        (result.labels[:, :, 10] | result.labels[:, :, 11]).sum(),
    ]
    assert between[0] <= result.slice_labels[:, :, 3].sum() <= between[1]


def test_a_tilted_stack_comes_also_straightened(make: Make) -> None:
    affine = CASE.AFFINE.copy()
    affine[1, 2] = 0.5
    grid = Grid(SHAPE, affine)
    inside = distances(grid) < 11
    case = make_case(grid, category="tilted")
    result = make().segment(case, make_volume(np.where(inside, 1.0, 0.0)))
    assert result.orthogonal is not None
    labels, straight = result.orthogonal
    assert labels.shape == straight.shape
    assert straight.shear_degrees < 1e-6
    volumes = [labels.sum() * straight.voxel_mm3, result.labels.sum() * grid.voxel_mm3]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    assert volumes[0] == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.05)


def test_probabilities_are_kept_on_request_and_change_nothing(make: Make, grid: Grid) -> None:
    values, contract = shells(grid, 3), {"spacing": [1.3, 1.3, 1.3]}
    options = Options(device="cpu", outputs=("nifti", "probabilities"))
    result = make(3, options, contract=contract).segment(make_case(grid), make_volume(values))
    expected = make(3, contract=contract).segment(make_case(grid), make_volume(values))
    assert expected.probabilities is None
    assert np.array_equal(result.labels, expected.labels)
    assert result.probabilities is not None
    assert result.probabilities.shape == (3, *SHAPE)
    assert result.probabilities.dtype == np.float16
    assert result.probabilities.sum(axis=0) == pytest.approx(1, abs=5e-3)
    assert (result.probabilities.argmax(axis=0) == result.labels).mean() > 0.999


def test_the_overlap_may_be_chosen(make: Make, grid: Grid) -> None:
    counts = []
    for overlap in (0.0, None, 0.75):
        steps: list[float] = []
        segmenter = make(options=Options(device="cpu", overlap=overlap))
        segmenter.segment(make_case(grid), make_volume(shells(grid)), steps.append)
        counts.append(len(steps))
    assert counts[0] < counts[1] < counts[2]


def test_an_image_unlike_the_training_is_reported(make: Make, grid: Grid) -> None:
    contract = {"training_ranges": {"spacing_greatest_mm": [5.0, 6.0]}}
    result = make(contract=contract).segment(make_case(grid), make_volume(shells(grid)))
    assert codes(result) == ["W16"]
    assert "1.5 (training 5 to 6)" in str(result.findings[0])
