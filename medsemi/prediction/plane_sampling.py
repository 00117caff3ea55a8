"""Linear interpolation from the planes of one grid to the planes of another, a few at a time.

Trilinear interpolation between grids with parallel planes is done in two steps: two neighboring input
planes are blended, and the blend is sampled bilinearly in the plane. A tilted stack adds an offset in
the plane that grows from plane to plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medsemi.prediction.geometry import TOLERANCE

# Further away than any voxel.
FAR = 1e6

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Depth:
    """Between which input planes output planes lie; one entry for each output plane.

    Attributes:
        lower: index of the nearest input plane below.
        upper: of that above; the same where the output plane lies on an input plane or beyond the
            outermost.
        weight: of the upper one, float32.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def at(cls, positions: NDArray[np.float64], planes: int) -> Depth:
        """Find the neighbors of fractional plane indices among `planes` planes."""
        nearest = np.rint(positions)
        positions = np.where(np.abs(positions - nearest) < TOLERANCE, nearest, positions)
        positions = np.clip(positions, 0, planes - 1)
        lower = np.floor(positions).astype(np.int64)
        weight = (positions - lower).astype(np.float32)
        return cls(lower, lower + (weight > 0), weight)

    def of(self, chosen: NDArray[np.int64]) -> Depth:
        """The same for some of the output planes."""
        return Depth(self.lower[chosen], self.upper[chosen], self.weight[chosen])

    def blend(self, planes: Tensor, first: int) -> Tensor:
        """Blend neighboring planes.

        Args:
            planes: (input planes, rows, columns), float32.
            first: index of the first of them.

        Returns:
            (output planes, rows, columns).
        """
        lower = planes[torch.from_numpy(self.lower - first).to(planes.device)]
        if not self.weight.any():
            return lower
        upper = planes[torch.from_numpy(self.upper - first).to(planes.device)]
        weight = torch.from_numpy(self.weight).to(planes.device)
        return lower.lerp_(upper, weight[:, None, None])


class PlaneMap:
    """Where the voxel centers of output planes lie in input planes.

    Args:
        transform: (4, 4), from output to input indices, both ordered (plane, row, column). The input
            plane depends on the output plane alone.
        inputs: shape of the input: planes, rows, columns.
        outputs: shape of the output.
        device: of the planes.
    """

    def __init__(
        self,
        transform: NDArray[np.float64],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self.inputs, self.outputs, self.device = inputs, outputs, device
        self._across, self._start = transform[0, 0], transform[0, 3]
        self._in_plane = transform[1:3, 1:3]
        self._drift, self._offset = transform[1:3, 0], transform[1:3, 3]
        # Half an output voxel in input voxels, along (plane, row, column).
        self._half = np.abs(transform[:3, :3]).sum(axis=1) / 2
        self.sheared = bool((np.abs(self._drift) * outputs[0] > TOLERANCE).any())

    def positions(self, planes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional input plane of (fractional) output planes."""
        positions: NDArray[np.float64] = self._across * planes + self._start
        return positions

    @cached_property
    def _lattice(self) -> tuple[tuple[int, int], list[int]] | None:
        """First row and column after a flip, and the flipped axes, if pixels lie on pixels."""
        ends = np.array([[0, 0], np.array(self.outputs[1:]) - 1]) * np.diag(self._in_plane)
        ends += self._offset
        exact = np.abs(self._in_plane - np.diag(np.sign(np.diag(self._in_plane))))
        error = np.abs(ends - np.rint(ends)).max() + (exact @ np.array(self.outputs[1:])).max()
        size = np.array(self.inputs[1:])
        whole = np.rint(ends).astype(int)
        if self.sheared or error > TOLERANCE or (whole < 0).any() or (whole >= size).any():
            return None
        flipped = [axis for axis in (0, 1) if self._in_plane[axis, axis] < 0]
        first = [int(size[a] - 1 - whole[0, a] if a in flipped else whole[0, a]) for a in (0, 1)]
        return (first[0], first[1]), flipped

    @cached_property
    def _grid(self) -> Tensor:
        """(rows, columns, (x, y)) of output plane 0, normalized: -1 and 1 are edges of the input."""
        rows, columns = (np.arange(count) for count in self.outputs[1:])
        places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) @ self._in_plane.T
        places = (2 * (places + self._offset) + 1) / self.inputs[1:] - 1
        return torch.from_numpy(places[..., ::-1].astype(np.float32)).to(self.device)

    def _grids(self, at: NDArray[np.float64], box: Box) -> Tensor:
        """(1 or planes, rows, columns, 2): the same for all planes unless they drift."""
        if not self.sheared:
            return self._grid[box][None]
        drift = 2 * np.outer(at, self._drift / self.inputs[1:])[:, ::-1]
        return (
            self._grid[box]
            + torch.from_numpy(drift.astype(np.float32)).to(self.device)[:, None, None]
        )

    @property
    def whole(self) -> Box:
        """All output pixels."""
        return slice(0, self.outputs[1]), slice(0, self.outputs[2])

    def sample(self, planes: Tensor, at: NDArray[np.float64], box: Box) -> Tensor:
        """Interpolate in the plane; beyond the edge the nearest value is taken.

        Args:
            planes: (planes, rows, columns) float32, at the depth of the output planes.
            at: (fractional) index of these output planes.
            box: output pixels that are asked for.

        Returns:
            (planes, rows of the box, columns of the box).
        """
        if self._lattice is not None:
            first, flipped = self._lattice
            rows, columns = (
                slice(part.start + shift, part.stop + shift)
                for part, shift in zip(box, first, strict=True)
            )
            planes = planes.flip([axis + 1 for axis in flipped]) if flipped else planes
            return planes[:, rows, columns]
        grids = self._grids(at, box)
        images = planes[:, None] if self.sheared else planes[None]
        sampled = F.grid_sample(
            images,
            grids.expand(len(images), -1, -1, -1),
            padding_mode="border",
            align_corners=False,
        )
        return sampled.flatten(0, 1)

    def outside(self, at: NDArray[np.float64]) -> Tensor:
        """Output voxels that do not touch the input.

        Args:
            at: index of output planes.

        Returns:
            bool (1 or planes, rows, columns).
        """
        size = np.array(self.inputs)
        limit = torch.from_numpy((1 + 2 * self._half / size)[:0:-1].astype(np.float32))
        beyond = (self._grids(at, self.whole).abs() > limit.to(self.device)).any(dim=-1)
        middle = (size[0] - 1) / 2
        far = np.abs(self.positions(at) - middle) > size[0] / 2 + self._half[0]
        return beyond | torch.from_numpy(far).to(self.device)[:, None, None]

    def reach(
        self, rows: NDArray[np.int_], columns: NDArray[np.int_], at: NDArray[np.float64]
    ) -> Box:
        """Output pixels whose interpolation may use some input pixels.

        Args:
            rows: of the input, sorted, at least one.
            columns: likewise.
            at: index of the output planes.
        """
        ends = []
        for chosen, count in ((rows, self.inputs[1]), (columns, self.inputs[2])):
            # The outermost pixels also serve everything beyond them.
            low = chosen[0] - 1 - TOLERANCE if chosen[0] > 0 else -FAR
            high = chosen[-1] + 1 + TOLERANCE if chosen[-1] < count - 1 else FAR
            ends.append((low, high))
        corners = np.array([(row, column) for row in ends[0] for column in ends[1]])
        offsets = self._offset + np.outer([at.min(), at.max()], self._drift * self.sheared)
        places = (corners[None] - offsets[:, None]) @ np.linalg.inv(self._in_plane).T
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        limits = np.array(self.outputs[1:])
        first = np.clip(np.floor(low), 0, limits).astype(int)
        stop = np.clip(np.ceil(high), first, limits).astype(int)
        return slice(int(first[0]), int(stop[0])), slice(int(first[1]), int(stop[1]))
