"""Sliding windows, one band after the other: finished planes leave as soon as no window needs them.

The windows, their weights and the padding are those of MONAI's `SlidingWindowInferer`, and so are the
averages; only the order differs. All windows that start at the same plane of one axis form a band. The
scores of a single band are held, not those of the volume, so memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from torch import Tensor

Triple = tuple[int, int, int]
Average = Literal["probability", "logits"]

# Finished scores that are normalized and handed on at once.
PART_BYTES = 2**24
# Mean of the summed weights in half precision: the least weight still counts with its probability, and
# sums stay far below the largest half.
HALF_TOTAL = 8.0


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How windows are cut from a volume and joined again.

    Attributes:
        size: of a window along each axis, in voxels; 0 takes the whole axis.
        stride: step between windows along each axis, in voxels.
        weighting: `constant` or `gaussian`.
        average: what is averaged where windows overlap.
        sigma_scale: SD of the gaussian along each axis, as a part of the window.
        padding: how axes shorter than the window are filled, a mode of `torch.nn.functional.pad`.
        padding_value: of the mode `constant`.
        mirror_axes: along which windows are mirrored; the network sees each in all 2^n forms.
    """

    size: Triple
    stride: Triple
    weighting: str = "constant"
    average: Average = "logits"
    sigma_scale: tuple[float, float, float] = (0.125, 0.125, 0.125)
    padding: str = "constant"
    padding_value: float = 0.0
    mirror_axes: tuple[int, ...] = ()

    def with_overlap(self, overlap: float) -> WindowPlan:
        """The same windows with another overlap, 0 to below 1, along every axis."""
        x, y, z = (max(int(edge * (1 - overlap)), 1) for edge in self.size)
        return replace(self, stride=(x, y, z))

    def window(self, shape: Triple) -> Triple:
        """Size of the windows in a volume of `shape`."""
        x, y, z = (edge or whole for edge, whole in zip(self.size, shape, strict=True))
        return x, y, z

    def starts(self, shape: Triple) -> tuple[list[int], list[int], list[int]]:
        """First voxels of the windows along each axis of the (padded) volume."""
        edges = zip(shape, self.window(shape), self.stride, strict=True)
        x, y, z = (window_starts(*edge) for edge in edges)
        return x, y, z

    def count(self, shape: Triple) -> int:
        """Number of windows in a volume of `shape`."""
        return prod(map(len, self.starts(shape)))


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First voxels of windows along one axis; the last window ends with the axis.

    Args:
        length: of the axis, before padding.
        window: its edge.
        stride: step between windows.
    """
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def stream_bands(
    volume: Tensor,
    predict: Callable[[Tensor], Tensor],
    plan: WindowPlan,
    axis: int,
    consume: Callable[[int, Tensor], None],
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Average the scores of windows and hand on finished planes in ascending order.

    Args:
        volume: (x, y, z) float32; scores are averaged on its device.
        predict: takes windows (batch, 1, *window) on the device of `volume` and returns scores
            (batch, classes, *window), on any device, which are overwritten.
        plan: how windows are cut and joined.
        axis: along which bands follow each other.
        consume: called with the index of the first plane along `axis` and averaged scores, float32
            (classes, *volume.shape with some planes along `axis`); every plane comes once.
        batch: windows in one call of `predict`.
        dtype: that sums are kept in, float32 or float16.
    """
    shape = _triple(volume.shape)
    size, starts = plan.window(shape), plan.starts(shape)
    padded, before = _padded(volume, size, plan)
    weights = _weights(plan, size, volume.device)
    if dtype == torch.float16:
        weights *= HALF_TOTAL * padded.numel() / (weights.sum() * plan.count(shape))
    band = _Band(_triple(padded.shape), size, axis, weights, dtype)
    xs, ys, zs = (first if a != axis else [0] for a, first in enumerate(starts))
    columns = list(product(xs, ys, zs))
    for number, start in enumerate(starts[axis]):
        remaining = iter(columns)
        while corners := [_replaced(c, axis, start) for c in islice(remaining, batch)]:
            windows = [_cut(padded, corner, size) for corner in corners]
            scores = predict(torch.stack(windows)[:, None])
            for corner, window in zip(corners, scores, strict=True):
                band.add(corner, window)
            del windows, scores, window  # not held while the network works on the next ones
        following = starts[axis][number + 1 : number + 2] or [start + size[axis]]
        _hand_on(band, following[0] - start, start, before, shape, axis, consume)


def _hand_on(
    band: _Band,
    finished: int,
    start: int,
    before: Triple,
    shape: Triple,
    axis: int,
    consume: Callable[[int, Tensor], None],
) -> None:
    """Give away finished planes without what was padded."""
    for first, planes in band.finished(finished):
        skipped = before[axis] - (start + first)
        low = max(skipped, 0)
        high = min(planes.shape[axis + 1], skipped + shape[axis])
        if low < high:
            corner = _replaced(before, axis, low)
            size = _replaced(shape, axis, high - low)
            consume(low - skipped, _cut(planes, corner, size))
    band.advance(finished)


class _Band:
    """Sums of weighted scores over as many planes as a window has."""

    def __init__(
        self, shape: Triple, size: Triple, axis: int, weights: Tensor, dtype: torch.dtype
    ) -> None:
        self._axis, self._planes, self._dtype = axis, size[axis], dtype
        self._shape = _replaced(shape, axis, size[axis])
        self._size, self._weights = size, weights
        self._total = torch.zeros(self._shape, device=weights.device)
        self._sum: Tensor | None = None

    def add(self, corner: Triple, scores: Tensor) -> None:
        """Add the scores (classes, *window) of a window that starts at `corner`; overwrites them."""
        if self._sum is None:
            shape = (len(scores), *self._shape)
            self._sum = torch.zeros(shape, dtype=self._dtype, device=self._weights.device)
        here = _replaced(corner, self._axis, 0)
        weighted = scores.to(self._weights.device, torch.float32).mul_(self._weights)
        _cut(self._total, here, self._size).add_(self._weights)
        _cut(self._sum, here, self._size).add_(weighted)

    def finished(self, planes: int) -> Iterator[tuple[int, Tensor]]:
        """Averages (classes, *band) of the first planes, in parts, with the first plane of each."""
        assert self._sum is not None
        plane_bytes = 4 * self._sum.numel() // self._planes
        step = max(1, PART_BYTES // plane_bytes)
        for first in range(0, planes, step):
            count = min(step, planes - first)
            total = self._total.narrow(self._axis, first, count)
            yield first, self._sum.narrow(self._axis + 1, first, count) / total

    def advance(self, planes: int) -> None:
        """Forget the first planes; the others move to their place."""
        assert self._sum is not None
        for tensor, axis in ((self._total, self._axis), (self._sum, self._axis + 1)):
            kept = self._planes - planes
            for first in range(0, kept, planes):
                count = min(planes, kept - first)
                moved = tensor.narrow(axis, first + planes, count)
                tensor.narrow(axis, first, count).copy_(moved)
            tensor.narrow(axis, kept, planes).zero_()


def _padded(volume: Tensor, size: Triple, plan: WindowPlan) -> tuple[Tensor, Triple]:
    """The volume, at least as large as a window, and what was added before each axis."""
    missing = [max(edge - n, 0) for edge, n in zip(size, volume.shape, strict=True)]
    x, y, z = (n // 2 for n in missing)
    if any(missing):
        around = [(half, n - half) for half, n in zip((x, y, z), missing, strict=True)]
        pads = [amount for pair in reversed(around) for amount in pair]
        value = plan.padding_value if plan.padding == "constant" else None
        volume = F.pad(volume[None, None], pads, plan.padding, value)[0, 0]
    return volume, (x, y, z)


def _weights(plan: WindowPlan, size: Triple, device: torch.device) -> Tensor:
    weights: Tensor = compute_importance_map(
        size, mode=plan.weighting, sigma_scale=plan.sigma_scale, device=device
    )
    return weights


def _cut(tensor: Tensor, corner: Triple, size: Triple) -> Tensor:
    """The view of one window in the last three axes."""
    for axis, (first, length) in enumerate(zip(corner, size, strict=True), start=-3):
        tensor = tensor.narrow(axis, first, length)
    return tensor


def _replaced(values: Triple, axis: int, value: int) -> Triple:
    x, y, z = (value if at == axis else kept for at, kept in enumerate(values))
    return x, y, z


def _triple(shape: torch.Size) -> Triple:
    x, y, z = shape
    return x, y, z
