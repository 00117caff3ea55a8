"""Where a case is segmented and in how much memory: devices, modes, and what happens when it runs out."""

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
from torch import Tensor

from medsemi.prediction import ladder, network
from medsemi.prediction.case import Grid, Segmentation
from medsemi.prediction.codes import CaseRefused, RunStopped
from medsemi.prediction.ladder import MODES
from medsemi.prediction.network import Segmenter, choose_device

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))
CASE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_case.py"))))
make_case, make_volume, shells, codes = CASE.make_case, CASE.make_volume, CASE.shells, CASE.codes
Make = Callable[..., Segmenter]


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
    original, images = network.normalize, []

    def failing(image: Tensor, *arguments: Any) -> Tensor:
        import weakref

        images.append(weakref.ref(image))
        if len(images) == 1:
            raise MemoryError
        assert images[0]() is None
        return original(image, *arguments)

    monkeypatch.setattr(network, "normalize", failing)
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


def test_a_mistake_of_ours_is_no_lack_of_memory(
    make: Make, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: Any) -> Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(network, "normalize", mistake)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        make().segment(make_case(grid), make_volume(shells(grid)))


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
