"""A device that is not here is told with those that are."""

from __future__ import annotations

import pytest
import torch

from medsemi.errors import ConfigError
from medsemi.training.devices import checked_device


@pytest.mark.parametrize("name", ["cpu", "meta", torch.device("cpu")])
def test_devices_that_are_always_here(name: str | torch.device) -> None:
    assert checked_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "tpu", "cuda:x", "xpu", 0, None, 1.5])
def test_without_a_gpu_the_cpu_is_left(monkeypatch: pytest.MonkeyPatch, name: object) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError) as refusal:
        checked_device(name)
    assert str(refusal.value) == f"device is '{name}'; take cpu: PyTorch finds 0 GPUs here."


def test_gpus_that_are_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1") == torch.device("cuda:1")
    assert checked_device("cuda") == torch.device("cuda")
    with pytest.raises(ConfigError, match="'cuda:2'; take cpu, cuda:0, cuda:1: PyTorch finds 2"):
        checked_device("cuda:2")
