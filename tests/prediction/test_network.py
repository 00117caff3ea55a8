"""Cases through a small network: labels, memory modes, agreement, refusals."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from medsemi.prediction import ladder, network
from medsemi.prediction.case import Grid, Segmentation
from medsemi.prediction.codes import CaseRefused, RunStopped
from medsemi.prediction.ladder import MODES
from medsemi.prediction.network import Segmenter, choose_device
from medsemi.prediction.options import Options

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))
CASE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_case.py"))))
SHAPE, make_case, make_volume, distances, shells, codes = (
    CASE.SHAPE,
    CASE.make_case,
    CASE.make_volume,
    CASE.distances,
    CASE.shells,
    CASE.codes,
)
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


@pytest.mark.parametrize("average", ["probability", "logits"])
@pytest.mark.parametrize("mode", MODES)
def test_every_memory_mode_gives_the_same_labels(
    make: Make, grid: Grid, mode: Any, average: str
) -> None:
    values, case = shells(grid, 5), make_case(grid)
    inferer = {**SMALL.WINDOW, "average": average}
    settings = {"contract": {"spacing": [1.1, 1.1, 1.1]}, "config": {"inferer": inferer}}
    reference, segmenter = make(5, **settings), make(5, **settings)
    segmenter.modes = (mode,)
    result = segmenter.segment(case, make_volume(values))
    expected = reference.segment(case, make_volume(values))
    assert result.memory_mode == mode.number
    assert set(np.unique(expected.labels)) == set(range(5))
    assert (result.labels == expected.labels).mean() >= 0.9999


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
    ),
    MemoryError(),
]


@pytest.mark.parametrize("failing", range(len(MODES) + 1))
def test_out_of_memory_takes_the_next_mode_once(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The first `failing` modes run out of memory after a part of the work."""
    values, case = shells(grid), make_case(grid)
    expected = make().segment(case, make_volume(values))
    segmenter = make()
    segmenter.modes = MODES
    tried: list[int] = []
    original = network.stream_bands

    def stream(volume: Tensor, predict: Any, *arguments: Any, **settings: Any) -> None:
        tried.append(len(tried))
        calls = 0

        def limited(windows: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if len(tried) <= failing and calls == 3:
                raise OUT_OF_MEMORY[len(tried) % 3]
            scores: Tensor = predict(windows)
            return scores

        original(volume, limited, *arguments, **settings)

    monkeypatch.setattr(network, "stream_bands", stream)
    if failing == len(MODES):
        with pytest.raises(CaseRefused, match="E01"):
            segmenter.segment(case, make_volume(values))
        assert len(tried) == len(MODES)
        return
    result = segmenter.segment(case, make_volume(values))
    assert result.memory_mode == failing
    assert len(tried) == failing + 1
    assert (result.labels == expected.labels).mean() >= 0.9999
    assert codes(result) == (["W21"] if failing else [])
    if failing:
        assert f"mode {failing}" in str(result.findings[0])


def test_nothing_of_a_failed_attempt_is_kept(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = make()
    original, images = network.prepare, []

    def failing(image: Tensor, *arguments: Any) -> Tensor:
        import weakref

        images.append(weakref.ref(image))
        if len(images) == 1:
            raise MemoryError
        assert images[0]() is None
        return original(image, *arguments)

    monkeypatch.setattr(network, "prepare", failing)
    assert segmenter.segment(make_case(grid), make_volume(shells(grid))).memory_mode == 3


def test_a_case_that_cannot_fit_is_refused_before_it_starts(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = make()
    monkeypatch.setattr(ladder, "free_host_bytes", lambda: 10**7)
    with pytest.raises(CaseRefused, match=r"R11 Needs about 0\.3 GB, 0\.0 GB are free"):
        segmenter.segment(make_case(grid), make_volume(shells(grid)))


def test_the_first_mode_that_fits_is_taken(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter, case, volume = make(), make_case(grid), make_volume(shells(grid))
    task = network._Task(case, volume, segmenter._model, lambda done: None)
    needed = [sum(segmenter._demand(task).split(mode)) for mode in segmenter.modes]
    assert needed[1] < needed[0]
    monkeypatch.setattr(ladder, "free_host_bytes", lambda: int(needed[1] / 0.8) + 1)
    result = segmenter.segment(case, volume)
    assert result.memory_mode == 3
    assert codes(result) == ["W21"]


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


def test_a_mistake_of_ours_is_no_lack_of_memory(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: Any) -> Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(network, "prepare", mistake)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        make().segment(make_case(grid), make_volume(shells(grid)))


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


def test_a_try_in_full_precision_holds_nothing_of_the_first(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is being handled keeps all that its frames hold on the GPU."""
    segmenter, values = make(), make_volume(shells(grid))
    expected, whole = segmenter.segment(make_case(grid), values), segmenter._segment

    def overflowing(*given: Any, half: bool) -> Segmentation:
        if half:
            raise network._HalfPrecisionError
        assert sys.exc_info() == (None, None, None)
        return whole(*given, half=half)

    monkeypatch.setattr(segmenter, "_segment", overflowing)
    assert np.array_equal(segmenter.segment(make_case(grid), values).labels, expected.labels)


def test_an_image_unlike_the_training_is_reported(make: Make, grid: Grid) -> None:
    contract = {"training_ranges": {"spacing_greatest_mm": [5.0, 6.0]}}
    result = make(contract=contract).segment(make_case(grid), make_volume(shells(grid)))
    assert codes(result) == ["W16"]
    assert "1.5 (training 5 to 6)" in str(result.findings[0])


@pytest.mark.parametrize("wanted", ["cuda:99", "mps", "nonsense", "cuda:x"])
def test_devices_that_are_not_there_are_named(wanted: str) -> None:
    with pytest.raises(RunStopped, match=f"E13 .*{wanted}") as stopped:
        choose_device(wanted, 0)
    assert stopped.value.exit_code == 1


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto", 0) == torch.device("cpu")
    assert choose_device("cpu", 0) == torch.device("cpu")


def test_auto_takes_the_first_gpu_with_enough_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {0: 1e9, 1: 8e9, 2: 9e9}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(network, "free_bytes", lambda device: free[device.index])
    assert choose_device("auto", 4 * 10**9) == torch.device("cuda", 1)
    assert choose_device("auto", 8 * 10**9) == torch.device("cpu")
    assert choose_device("cuda", 8 * 10**9) == torch.device("cuda", 0)


@pytest.mark.slow
def test_many_classes_of_a_large_volume_stay_within_6_gb(tmp_path: Path, repository: Path) -> None:
    """117 classes of a CT of 512 × 512 × 300: scores on its grid would be 37 GB."""
    script = Path(__file__).with_name("many_classes.py")
    command = [sys.executable, str(script), str(tmp_path / "bundle"), "117", "3", "1.5"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["mode"] == 3
    assert told["classes"] == 117
    assert (
        told["equal"] > 0.85
    )  # between two classes the network finds those of the brightness between
    assert told["peak_gb"] < 6
