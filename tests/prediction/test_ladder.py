"""Which memory mode a case starts in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medsemi.prediction import ladder
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.ladder import MODES, Demand, fitting_modes, modes_for

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
GB = 10**9
DEMAND = Demand(
    working=(239, 239, 200),
    window=(96, 96, 96),
    axis=2,
    classes=117,
    activations=GB,
    results=512 * 512 * 300,
)


def free(monkeypatch: pytest.MonkeyPatch, host: float, gpu: float = 0) -> None:
    monkeypatch.setattr(ladder, "free_host_bytes", lambda: int(host))
    monkeypatch.setattr(ladder, "free_bytes", lambda device: int(gpu))


def test_each_mode_takes_less_of_the_gpu_than_the_one_before() -> None:
    on_gpu = [DEMAND.split(mode)[1] for mode in MODES]
    assert on_gpu[0] > on_gpu[1] > on_gpu[2] == on_gpu[3] > on_gpu[4] == 0
    on_cpu = [DEMAND.split(mode)[0] for mode in MODES]
    assert on_cpu[2] > on_cpu[3] > on_cpu[0] == on_cpu[1] == DEMAND.results


def test_a_band_is_counted_and_not_the_volume() -> None:
    """The sums of a volume twice as long need no more."""
    longer = replace(DEMAND, working=(239, 239, 400))
    growth = sum(longer.split(MODES[3])) - sum(DEMAND.split(MODES[3]))
    assert growth == 2 * 4 * 239 * 239 * 200


def test_without_a_gpu_there_are_two_modes() -> None:
    assert [mode.number for mode in modes_for(CPU)] == [2, 3]
    assert [mode.number for mode in modes_for(GPU)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("start", range(5))
def test_the_first_mode_that_fits_with_a_reserve(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    on_cpu, on_gpu = DEMAND.split(MODES[start])
    needed_by_all = max(on_cpu, DEMAND.split(MODES[4])[0])
    free(monkeypatch, needed_by_all / 0.8 + 1, on_gpu / 0.8 + 1)
    if start in (2, 3):  # the two differ in main memory alone
        free(monkeypatch, on_cpu / 0.8 + 1, on_gpu / 0.8 + 1)
    assert [mode.number for mode in fitting_modes(MODES, DEMAND, GPU)] == list(range(start, 5))


def test_what_fits_without_a_reserve_only_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = modes_for(CPU)
    free(monkeypatch, sum(DEMAND.split(modes[-1])) + 1)
    assert fitting_modes(modes, DEMAND, CPU) == modes[-1:]


def test_what_fits_nowhere_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(DEMAND.split(MODES[3]))
    free(monkeypatch, 2.04 * GB)
    with pytest.raises(CaseRefused) as refused:
        fitting_modes(modes_for(CPU), DEMAND, CPU)
    finding = refused.value.finding
    assert finding.code == "R11"
    assert finding.values == {"needed": f"{needed / 1e9:.1f}", "free": "2.0"}
