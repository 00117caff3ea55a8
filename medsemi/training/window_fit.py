"""Whether windows and labels fit the networks: torch's own words for a step that failed say little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.parts.modes import evaluated


def refuse_unfit(
    networks: Mapping[str, nn.Module],
    shape: Sequence[int],
    device: torch.device,
    largest_label: int,
    failed: Exception,
) -> None:
    """Name what does not fit, asked when a step has failed.

    Args:
        networks: by name; each takes (batch, channels, *space). They are left as they were.
        shape: (channels, *space) of a window.
        device: where the networks are.
        largest_label: of the labeled volumes.
        failed: with what.

    Raises:
        ConfigError: if a network cannot take a window, has a norm with one value to work on, or tells
            fewer classes than the labels have.
    """
    if "Expected more than 1" in str(failed):
        # With batch norm this depends on the windows of a pass, which no network can be asked.
        raise ConfigError(
            f"window {list(shape[1:])} leaves the norm of the deepest stage of a network one voxel, and"
            " it needs two or more; make an edge longer, or with batch norm give more windows."
        ) from failed
    for name, network in networks.items():
        try:
            told = told_classes(network, shape, device)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
                return  # the device has failed, not the window
            raise ConfigError(
                f"window {list(shape[1:])} with {shape[0]} channels does not fit network {name},"
                f" {type(network).__name__} ({str(error).splitlines()[0]}). V-Net and U-Net halve each"
                " edge four times, so give multiples of 16; a plan of medsemi fingerprint has a window"
                " that fits its network."
            ) from error
        if told is not None and largest_label >= told:
            raise ConfigError(
                f"network {name} tells {told} classes, with the background, and a labeled volume has"
                f" the value {largest_label}; set its out_channels to the number of classes."
            )


def refuse_other_classes(
    networks: Mapping[str, nn.Module], shape: Sequence[int], device: torch.device, classes: int
) -> None:
    """Refuse networks that tell other classes than those that are scored, before anything is learned.

    Args:
        networks: by name; they are left as they were.
        shape: (channels, *space) of a window.
        device: where the networks are.
        classes: number of classes, with the background.

    Raises:
        ConfigError: if one does.
        RuntimeError: if one cannot take a window; of torch, like the next.
        ValueError: if its norm has one voxel to work on.
    """
    for name, network in networks.items():
        told = told_classes(network, shape, device)
        if told not in (None, classes):
            raise ConfigError(
                f"network {name} tells {told} classes and the manifest {classes}, with the background;"
                f" set its out_channels to {classes}, or correct 'classes' of the manifest."
            )


def told_classes(network: nn.Module, shape: Sequence[int], device: torch.device) -> int | None:
    """How many classes a network tells, from a window of zeros; it is left as it was.

    Args:
        network: takes (batch, channels, *space).
        shape: (channels, *space) of a window.
        device: where the network is.

    Returns:
        The channels of what it returns; None if that is no tensor.

    Raises:
        RuntimeError: if it cannot take the window; of torch, like the next.
        ValueError: if its norm has one voxel to work on.
    """
    devices = [device] if device.type == "cuda" else []
    # A training must be the same whether it was asked or not.
    with torch.no_grad(), evaluated(network), torch.random.fork_rng(devices):
        # Not called but its forward: a compiled network would be compiled for this one window.
        output = network.forward(torch.zeros(1, *shape, device=device))
    return int(output.shape[1]) if isinstance(output, Tensor) else None
