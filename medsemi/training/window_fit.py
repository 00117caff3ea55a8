"""Whether a window fits the networks, asked when a step has failed: torch's own words say little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from medsemi.errors import ConfigError


def refuse_unfit_window(
    networks: Mapping[str, nn.Module], shape: Sequence[int], device: torch.device
) -> None:
    """Name the window, if a network cannot take one of zeros; networks are left in eval mode.

    Args:
        networks: by name; each takes (batch, channels, *space).
        shape: (channels, *space) of a window.
        device: where the networks are.

    Raises:
        ConfigError: if a network cannot.
    """
    for name, network in networks.items():
        error = _failure(network, torch.zeros(1, *shape, device=device))
        if error is not None:
            raise ConfigError(
                f"window {list(shape[1:])} with {shape[0]} channels does not fit network {name},"
                f" {type(network).__name__} ({str(error).splitlines()[0]}). V-Net and U-Net halve each"
                " edge four times, so give multiples of 16; a plan of medsemi fingerprint has a window"
                " that fits its network."
            ) from error


@torch.no_grad()
def _failure(network: nn.Module, window: torch.Tensor) -> RuntimeError | None:
    try:
        network.eval()(window)
    except torch.OutOfMemoryError:
        return None  # the window fits the network and not the device
    except RuntimeError as error:
        return error
    return None
