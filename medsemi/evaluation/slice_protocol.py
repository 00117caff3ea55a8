"""Inference slice by slice: how a network of two dimensions segments a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from medsemi.data.stretching import nearest_indices
from medsemi.errors import ConfigError
from medsemi.evaluation.protocol import WindowInference


class SliceWindowInference(Inferer):
    """Class probabilities of a volume from overlapping windows in each slice, at native size.

    The slices across the last axis are a batch of images, which `WindowInference` segments; slices
    smaller than the window are padded with zeros on both sides and cut back.

    Args:
        window: size of the window in a slice, in pixels.
        stride: step between windows, in pixels. Default: half of the window.
        average: what is averaged where windows overlap, "probability" or "logits".
        weighting: "constant" or "gaussian", as for `WindowInference`.
        windows_per_batch: windows in one forward pass.
        mirror_axes: axes of a slice, 0 and 1, along which windows are mirrored as well.

    Raises:
        ConfigError: if the arguments contradict each other.
    """

    def __init__(
        self,
        window: Sequence[int],
        stride: Sequence[int] | None = None,
        average: Literal["probability", "logits"] = "probability",
        weighting: Literal["constant", "gaussian"] = "constant",
        windows_per_batch: int = 8,
        mirror_axes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        _check_plane(window)
        self._planes = WindowInference(
            window, stride, average, weighting, windows_per_batch, mirror_axes
        )
        self.window, self.stride = self._planes.window, self._planes.stride
        self.average, self.weighting = average, weighting
        self.mirror_axes = self._planes.mirror_axes

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Segment a batch of volumes.

        Args:
            inputs: (batch, channels, x, y, slices).
            network: returns logits (batch, classes, *window) for windows (batch, channels, *window).
            *args: further arguments of `network`.
            **kwargs: further named arguments of `network`.

        Returns:
            Probabilities (batch, classes, x, y, slices).
        """
        planes = self._planes(as_planes(inputs), network, *args, **kwargs)
        return as_volume(planes, inputs)


class StretchedSliceInference(Inferer):
    """Class probabilities of a volume as in the published cardiac (ACDC) results.

    Each slice is resized to the network's size, whatever its shape, by nearest neighbors on a grid
    aligned at the corners, and the result is brought back in the same way. The published code brings
    labels back; nearest neighbors take whole columns of probabilities, so that labels are the same.

    Args:
        size: that slices are resized to, in pixels.
        slices_per_batch: slices in one forward pass.

    Raises:
        ConfigError: if `size` has not two edges.

    Source: BCP, `utils/val_2d.py` (test_single_volume), inherited from SSL4MIS.
    """

    def __init__(self, size: Sequence[int], slices_per_batch: int = 8) -> None:
        super().__init__()
        _check_plane(size)
        self.size, self.slices_per_batch = tuple(size), slices_per_batch

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Segment a batch of volumes; arguments and result as for `SliceWindowInference`."""
        space = inputs.shape[2:4]
        images = _resized(as_planes(inputs), self.size)
        planes = [
            network(part, *args, **kwargs).float().softmax(dim=1)
            for part in images.split(self.slices_per_batch)
        ]
        return as_volume(_resized(torch.cat(planes), space), inputs)


def _check_plane(size: Sequence[int]) -> None:
    if len(size) != 2:
        raise ConfigError(f"the window is {tuple(size)}; give the 2 edges of a slice, in pixels.")


def as_planes(volumes: Tensor) -> Tensor:
    """Volumes (batch, channels, x, y, slices) as images (batch * slices, channels, x, y)."""
    return volumes.movedim(-1, 1).flatten(0, 1)


def as_volume(planes: Tensor, volumes: Tensor) -> Tensor:
    """Images of `as_planes` as volumes again, with the metadata of the volumes if they have any.

    Args:
        planes: (batch * slices, classes, x, y).
        volumes: what the images were made of.

    Returns:
        (batch, classes, x, y, slices).
    """
    plain = planes.as_tensor() if isinstance(planes, MetaTensor) else planes
    joined: Tensor = plain.unflatten(0, (volumes.shape[0], volumes.shape[-1])).movedim(1, -1)
    if isinstance(volumes, MetaTensor):
        return MetaTensor(joined, meta=volumes.meta)
    return joined


def _resized(planes: Tensor, size: Sequence[int]) -> Tensor:
    rows, columns = (
        torch.from_numpy(nearest_indices(n, wanted)).to(planes.device)
        for n, wanted in zip(planes.shape[2:], size, strict=True)
    )
    return planes[:, :, rows][..., columns]
