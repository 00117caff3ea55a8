"""Where a network runs: a device that this machine does not have is told before anything is built."""

from __future__ import annotations

import torch

from medsemi.errors import ConfigError


def checked_device(name: torch.device | str | int) -> torch.device:
    """Return the device that a configuration names.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, N alone, or another device of PyTorch.

    Raises:
        ConfigError: if it is none, or not here.
    """
    try:
        device = torch.device(name)
        if device.type != "cuda":  # which would wake a GPU
            torch.empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError, TypeError, ValueError) as error:
        raise _refused(name) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise _refused(name)
    return device


def _refused(name: object) -> ConfigError:
    gpus = torch.cuda.device_count()
    known = ", ".join(["cpu", *(f"cuda:{number}" for number in range(gpus))])
    return ConfigError(f"device is '{name}'; take {known}: PyTorch finds {gpus} GPUs here.")
