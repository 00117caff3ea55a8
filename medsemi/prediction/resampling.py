"""Images to the working grid, and scores from there back to labels on the source.

Both go plane by plane: neither the coordinates of a whole volume nor the scores of all classes on the
source ever exist at once. Labels are decided after interpolation: interpolated labels would lose the
borders that lie between working voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medsemi.prediction.case import Grid
from medsemi.prediction.geometry import index_transform, matching_axes
from medsemi.prediction.plane_sampling import Box, Depth, PlaneMap

# Voxels that are interpolated at once: little enough for the caches of a CPU, enough to keep a GPU busy.
BLOCK_VOXELS = {"cpu": 2**20, "cuda": 2**24}
# Scores that are copied at once, as float32.
PART_BYTES = {"cpu": 2**24, "cuda": 2**28}
STACK_AXES = (2, 1, 0)  # of a source grid: slice, row, column


def to_working(
    values: NDArray[np.float32],
    source: Grid,
    working: Grid,
    background: float,
    device: torch.device,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """Interpolate an image linearly at the voxel centers of the working grid.

    Nothing is smoothed before, also where the working grid is coarser: networks are trained on images
    that MONAI's `Spacingd` resamples in the same way. Values are clipped before that, as in training,
    so that a voxel which is half bone is half of the greatest value and not all of it.

    Args:
        values: indexed (column, row, slice), on `source`.
        source: grid of the image.
        working: grid with the planes of the source, see `working_grid`.
        background: value of working voxels that do not touch the source, as beside a tilted stack.
        device: of the result.
        clip: least and greatest value, in source units; None does not clip.

    Returns:
        float32 of shape `working.shape`, a copy on `device`. Where voxels of the two grids coincide,
        values are copied unchanged.

    Raises:
        ValueError: if the planes of the grids are not parallel.
    """
    order = matching_axes(working, source)
    least, greatest = clip or (-math.inf, math.inf)
    background = min(max(background, least), greatest)
    output = torch.empty(working.shape, dtype=torch.float32, device=device)
    planes = output.permute(order)
    mapping = _plane_map(working, order, source, STACK_AXES, device)
    positions = mapping.positions(np.arange(len(planes), dtype=float))
    depth = Depth.at(positions, source.shape[2])
    size = max(1, BLOCK_VOXELS[device.type] // planes[0].numel())
    for at in np.split(np.arange(len(planes)), range(size, len(planes), size)):
        here = depth.of(at)
        first, stop = int(here.lower.min()), int(here.upper.max()) + 1
        slab = torch.from_numpy(np.array(values.T[first:stop], order="C")).to(device)
        if clip is not None:
            slab.clamp_(least, greatest)
        sampled = mapping.sample(here.blend(slab, first), at.astype(float), mapping.whole)
        outside = mapping.outside(at.astype(float))
        planes[int(at[0]) : int(at[-1]) + 1] = sampled.masked_fill_(outside, background)
    return output


def labels_on(
    scores: Tensor, working: Grid, target: Grid, slice_index: Sequence[float] | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """The labels that win on another grid, from scores of the whole working grid.

    Args:
        scores: (classes, *working.shape).
        working: grid of the scores.
        target: grid of the labels.
        slice_index: see `LabelAssembler`.

    Returns:
        As `LabelAssembler.finish`.

    Raises:
        ValueError: if the planes of the grids are not parallel.
    """
    assembler = LabelAssembler(
        working, target, len(scores), device=scores.device, slice_index=slice_index
    )
    assembler.add(0, scores)
    return assembler.finish()


class LabelAssembler:
    """Takes scores of the working grid band after band and keeps the winning label on the target.

    For each target slice two working planes are blended and sampled in the plane, class after class,
    and the best class so far is kept. A class that nowhere exceeds the background among the working
    voxels around a target voxel cannot win there and is not interpolated: linear interpolation keeps
    the order. So work grows with the size of structures, not with their number.

    Memory: the labels; one plane of scores; `PART_BYTES` or two planes of scores; a few `BLOCK_VOXELS`.

    Args:
        working: grid of the scores.
        target: grid of the labels, indexed (column, row, slice).
        classes: number of classes; class 0 is the background.
        device: on which is interpolated; scores are moved there.
        slice_index: where labels are wanted along the slice axis of `target`, in slices; None means on
            every slice. For stacks whose true slices lie between those of a filled or regular grid.
        keep_probabilities: whether softmax probabilities are kept too. The scores must be logits then,
            and classes × target voxels × 2 bytes are held.

    Raises:
        ValueError: if the planes of the grids are not parallel.
    """

    def __init__(
        self,
        working: Grid,
        target: Grid,
        classes: int,
        *,
        device: torch.device,
        slice_index: Sequence[float] | None = None,
        keep_probabilities: bool = False,
    ) -> None:
        self._order, self._working, self._classes = matching_axes(working, target), working, classes
        self._device = device
        self._map = _plane_map(target, STACK_AXES, working, self._order, device)
        self._slices = np.asarray(
            range(target.shape[2]) if slice_index is None else slice_index, dtype=float
        )
        positions = self._map.positions(self._slices)
        self._depth = Depth.at(positions, self._map.inputs[0])
        self._waiting = np.argsort(positions, kind="stable")
        self._last: Tensor | None = None
        self._received = 0
        shape = (len(self._slices), *self._map.outputs[1:])
        self._labels: NDArray[np.unsignedinteger[Any]] = np.zeros(
            shape, np.uint8 if classes <= 2**8 else np.uint16
        )
        self._probabilities = (
            np.empty((classes, *shape), np.float16) if keep_probabilities else None
        )

    @property
    def axis(self) -> int:
        """The working axis along which bands arrive, in ascending order."""
        return self._order[0]

    @property
    def probabilities(self) -> NDArray[np.float16] | None:
        """(classes, column, row, slice) after `finish`, if they are kept."""
        kept = self._probabilities
        return None if kept is None else kept.transpose(0, 3, 2, 1)

    def add(self, first: int, scores: Tensor) -> None:
        """Take the next band and decide all target slices that it completes.

        Args:
            first: index of its first working plane along `axis`: the number of planes added so far.
            scores: (classes, *working.shape) with any extent along `axis`; any floating type. Not
                kept after the call.

        Raises:
            ValueError: if a band is missing, comes twice or has another shape.
        """
        band = scores.permute(0, *(axis + 1 for axis in self._order))
        expected = (self._classes, *self._map.inputs[1:])
        planes = band.shape[1]
        if first != self._received or (len(band), *band.shape[2:]) != expected:
            raise ValueError(
                f"got a band of shape {tuple(scores.shape)} at plane {first}; expected"
                f" {self._classes} classes of a grid {self._working.shape} from plane"
                f" {self._received} along axis {self.axis}"
            )
        if first + planes > self._map.inputs[0]:
            raise ValueError(f"got plane {first + planes - 1} of {self._map.inputs[0]}")
        plane_bytes = 4 * band[:, :1].numel()
        for part in band.split(max(1, PART_BYTES[self._device.type] // plane_bytes), dim=1):
            self._take(part)

    def finish(self) -> NDArray[np.unsignedinteger[Any]]:
        """The labels, once all bands have been added.

        Returns:
            (column, row, slice), columns changing fastest in memory; uint8 for up to 256 classes, else
            uint16. Of equal scores the lower class wins.

        Raises:
            ValueError: if bands are missing.
        """
        if self._received != self._map.inputs[0]:
            raise ValueError(f"got {self._received} of {self._map.inputs[0]} planes of scores")
        self._last = None
        return self._labels.T

    def _take(self, part: Tensor) -> None:
        """Decide the slices that lie between the last plane and the end of this part."""
        known = 0 if self._last is None else 1
        planes = torch.empty(
            (len(part), known + part.shape[1], *part.shape[2:]), device=self._device
        )
        planes[:, known:] = part
        if self._last is not None:
            planes[:, :1] = self._last
        self._last = planes[:, -1:].clone()
        first = self._received - known
        self._received += part.shape[1]
        upper = self._depth.upper[self._waiting]
        ready = self._waiting[upper < self._received]
        self._waiting = self._waiting[upper >= self._received]
        if len(ready):
            for slices in self._blocks(ready):
                self._decide(planes, first, slices)

    def _blocks(self, slices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        pixels = self._labels[0].size * (self._classes if self._probabilities is not None else 1)
        size = max(1, BLOCK_VOXELS[self._device.type] // pixels)
        yield from np.split(slices, range(size, len(slices), size))

    def _decide(self, planes: Tensor, first: int, slices: NDArray[np.int64]) -> None:
        """Label some target slices from (classes, planes, rows, columns) that begin at `first`."""
        depth, at = self._depth.of(slices), self._slices[slices]

        def scores(label: int, box: Box) -> Tensor:
            return self._map.sample(depth.blend(planes[label], first), at, box)

        used = planes[:, int(depth.lower.min()) - first : int(depth.upper.max()) - first + 1]
        boxes = self._boxes(used, at)
        if boxes:
            box = _hull(list(boxes.values()))
            labels = _winners(scores, boxes, box)
            self._labels[slices, box[0], box[1]] = labels.cpu().numpy()
        if self._probabilities is not None:
            every = [scores(label, self._map.whole) for label in range(self._classes)]
            softmax = torch.stack(every).softmax(dim=0).half()
            self._probabilities[:, slices] = softmax.cpu().numpy()

    def _boxes(self, planes: Tensor, at: NDArray[np.float64]) -> dict[int, Box]:
        """Where each class may win; classes that cannot are left out."""
        exceeds = planes[1:] > planes[:1]
        rows = exceeds.any(dim=3).any(dim=1).cpu().numpy()
        columns = exceeds.any(dim=2).any(dim=1).cpu().numpy()
        return {
            label: self._map.reach(np.flatnonzero(row), np.flatnonzero(column), at)
            for label, (row, column) in enumerate(zip(rows, columns, strict=True), start=1)
            if row.any()
        }


def _plane_map(
    output: Grid,
    output_axes: Sequence[int],
    source: Grid,
    source_axes: Sequence[int],
    device: torch.device,
) -> PlaneMap:
    """The map from `output` to `source`, both taken as planes of rows of columns."""
    transform = index_transform(output, source)[np.ix_([*source_axes, 3], [*output_axes, 3])]
    inputs = tuple(source.shape[axis] for axis in source_axes)
    outputs = tuple(output.shape[axis] for axis in output_axes)
    return PlaneMap(transform, inputs, outputs, device)


def _hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around boxes."""
    rows, columns = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )
    return rows, columns


def _winners(scores: Callable[[int, Box], Tensor], boxes: Mapping[int, Box], hull: Box) -> Tensor:
    """The label of the greatest score in a box around all boxes, by a running maximum."""
    best = scores(0, hull)
    labels = torch.zeros(
        best.shape, dtype=torch.uint8 if max(boxes) < 2**8 else torch.int16, device=best.device
    )
    for label, box in boxes.items():
        here = (
            slice(None),
            *(
                slice(part.start - whole.start, part.stop - whole.start)
                for part, whole in zip(box, hull, strict=True)
            ),
        )
        challenger, champion = scores(label, box), best[here]
        labels[here].masked_fill_(challenger > champion, label)
        torch.maximum(champion, challenger, out=champion)
    return labels
