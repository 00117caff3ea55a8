"""Sliding-window inference: how windows become the class probabilities of a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor

from medsemi.errors import ConfigError
from medsemi.parts.mirrors import mirrored_logits


class WindowInference(Inferer):
    """Class probabilities of a volume from overlapping windows.

    MONAI's own inferer averages what the network returns, that is logits; the published results
    average probabilities. Both are offered, the result is probabilities in either case. Axes
    shorter than the window are padded with zeros on both sides and cut back.

    With `window` and `stride` alone this is the published protocol, which takes windows of
    (112, 112, 80) with strides (18, 18, 4) for the left atrium and of (96, 96, 96) with
    (16, 16, 4) for the pancreas; `labels_from` follows.

    It serves as the `inferer` of MONAI's evaluators; a `MetaTensor` gives a `MetaTensor`, so that
    `Invertd` can bring the result back to the grid of the file.

    Args:
        window: size of the window along each axis, in voxels.
        stride: step between windows along each axis, in voxels; at most the window. Default: half
            of the window.
        average: what is averaged where windows overlap, "probability" or "logits".
        weighting: "constant" for a plain mean; "gaussian" lets the middle of a window count more.
        windows_per_batch: windows in one forward pass.
        mirror_axes: spatial axes, from 0, along which windows are mirrored; the network sees each
            window in all 2^n forms, whose probabilities are averaged.

    Raises:
        ConfigError: if the arguments contradict each other.
    """

    def __init__(
        self,
        window: Sequence[int],
        stride: Sequence[int] | None = None,
        average: Literal["probability", "logits"] = "probability",
        weighting: Literal["constant", "gaussian"] = "constant",
        windows_per_batch: int = 1,
        mirror_axes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        window = tuple(window)
        stride = tuple(max(edge // 2, 1) for edge in window) if stride is None else tuple(stride)
        _check(window, stride, average, weighting)
        self.mirror_axes = _checked_axes(mirror_axes, len(window))
        self.window = window
        self.stride = stride
        self.average = average
        self.weighting = weighting
        self._windows = SlidingWindowInferer(
            roi_size=window,
            sw_batch_size=windows_per_batch,
            overlap=[_overlap(*edges) for edges in zip(window, stride, strict=True)],
            mode=weighting,
            cache_roi_weight_map=weighting == "gaussian",
        )

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Segment a batch of volumes.

        Args:
            inputs: (batch, channels, *space).
            network: returns logits (batch, classes, *window) for windows of `inputs`.
            *args: further arguments of `network`.
            **kwargs: further named arguments of `network`.

        Returns:
            Probabilities (batch, classes, *space).
        """

        def logits(windows: Tensor, *args: object, **kwargs: object) -> Tensor:
            def mirrored(form: Tensor) -> Tensor:
                return network(form, *args, **kwargs)

            return mirrored_logits(mirrored, windows, self.mirror_axes)

        if self.average == "logits":
            return self._stitched(inputs, logits, *args, **kwargs).softmax(dim=1)

        def probabilities(windows: Tensor, *args: object, **kwargs: object) -> Tensor:
            # Half precision from autocast would cost digits in the sum over windows.
            return logits(windows, *args, **kwargs).float().softmax(dim=1)

        return self._stitched(inputs, probabilities, *args, **kwargs)

    def _stitched(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        stitched = self._windows(inputs, network, *args, **kwargs)
        if not isinstance(stitched, Tensor):
            raise TypeError(f"the network returned {type(stitched).__name__}; return logits only.")
        return stitched


def labels_from(probabilities: Tensor) -> Tensor:
    """The most probable class of each voxel; on a tie the lower label.

    With two classes this is the published rule, foreground probability strictly above 0.5.

    Args:
        probabilities: (batch, classes, *space).

    Returns:
        Labels (batch, *space), uint8.
    """
    return probabilities.argmax(dim=1).to(torch.uint8)


def _check(window: tuple[int, ...], stride: tuple[int, ...], average: str, weighting: str) -> None:
    fits = len(window) == len(stride) and all(
        1 <= step <= edge for edge, step in zip(window, stride, strict=True)
    )
    if not fits:
        raise ConfigError(
            f"stride is {stride} for the window {window}; "
            "give one step of 1 to the window's edge for each axis."
        )
    if average not in ("probability", "logits"):
        raise ConfigError(f"average is {average!r}; use 'probability' or 'logits'.")
    if weighting not in ("constant", "gaussian"):
        raise ConfigError(f"weighting is {weighting!r}; use 'constant' or 'gaussian'.")


def _checked_axes(axes: Sequence[int], count: int) -> tuple[int, ...]:
    chosen = tuple(int(axis) for axis in axes)
    if len(set(chosen)) != len(chosen) or not all(0 <= axis < count for axis in chosen):
        raise ConfigError(
            f"mirror_axes is {list(axes)}; name each of 0 to {count - 1} at most once."
        )
    return chosen


def _overlap(window: int, stride: int) -> float:
    # MONAI truncates window * (1 - overlap); half a voxel more keeps rounding from losing one.
    return max(0.0, 1.0 - (stride + 0.5) / window)
