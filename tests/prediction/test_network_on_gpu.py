"""A small network on a GPU: memory modes, overflow of half precision, a card that is full."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medsemi.prediction.case import Grid
from medsemi.prediction.ladder import MODES
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_bundle.py"))))
pytestmark = pytest.mark.gpu
CASE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_case.py"))))
make_case, make_volume, shells, codes = CASE.make_case, CASE.make_volume, CASE.shells, CASE.codes
Make = Callable[..., Segmenter]


def test_half_precision_on_a_gpu_gives_the_labels_of_the_cpu(make: Make, grid: Grid) -> None:
    values, contract = shells(grid, 5), {"spacing": [1.1, 1.1, 1.1]}
    expected = make(5, contract=contract).segment(make_case(grid), make_volume(values))
    segmenter = make(5, Options(device="cuda"), contract=contract)
    for mode in MODES:
        segmenter.modes = (mode,)
        result = segmenter.segment(make_case(grid), make_volume(values))
        assert (result.labels == expected.labels).mean() >= 0.999


def test_a_network_too_large_for_half_precision_runs_in_full(make: Make, grid: Grid) -> None:
    """A first layer multiplies by 200,000, the next one divides by it."""
    large = nn.Conv3d(1, 1, 1)
    large.weight.data.fill_(2e5), large.bias.data.zero_()  # type: ignore[union-attr]
    then = SMALL.brightness_network(5)
    then.weight.data /= 2e5
    layers = "torch.nn.Conv3d(1, 1, 1), torch.nn.Conv3d(1, @channels, 3, padding=1)"
    config = {"imports": ["$import torch"], "network_def": f"$torch.nn.Sequential({layers})"}
    weights = {"model": nn.Sequential(large, then)}
    values = shells(grid, 5)
    plain = make(5, Options(device="cpu")).segment(make_case(grid), make_volume(values))
    segmenter = make(5, Options(device="cuda"), config=config, weights=weights)
    result = segmenter.segment(make_case(grid), make_volume(values))
    assert result.memory_mode == 0
    assert (result.labels == plain.labels).mean() >= 0.999


def test_a_gpu_that_is_full_is_left_step_by_step(make: Make, grid: Grid) -> None:
    """The estimate allows the first mode; what it allocates is not there, for real."""
    values, options = shells(grid, 5), Options(device="cuda")
    expected = make(5, options).segment(make_case(grid), make_volume(values))
    segmenter = make(5, options)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        result = segmenter.segment(make_case(grid), make_volume(values))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert expected.memory_mode == 0
    assert result.memory_mode == 4
    assert "W21" in codes(result)
    assert (result.labels == expected.labels).mean() >= 0.999
