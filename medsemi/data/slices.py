"""Slices of volumes, as items that a stream cuts two-dimensional windows from.

A slice is a view: it shares the memory map of its volume, and nothing is copied but the windows. So
the labeled set of a two-dimensional training is all slices of the labeled patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medsemi.data.volumes import Volume
from medsemi.data.windows import foreground_counts
from medsemi.errors import DataError


@dataclass(frozen=True)
class Slice:
    """One slice of a volume, across its last axis.

    Attributes:
        volume: the prepared case, with three spatial axes.
        index: of the slice, from 0.
    """

    volume: Volume
    index: int

    @property
    def case_id(self) -> str:
        """Name of the volume and number of the slice, from 1 as in the lists of the field."""
        return f"{self.volume.case_id}_slice_{self.index + 1}"

    @property
    def volume_id(self) -> str:
        """Name of the case that it is a slice of."""
        return self.volume.case_id

    @property
    def image(self) -> NDArray[np.float32]:
        """Intensities, shape (channels, x, y), memory-mapped."""
        return self.volume.image[..., self.index]

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """Class indices, shape (x, y), memory-mapped; None for an unlabeled case."""
        label = self.volume.label
        return None if label is None else label[..., self.index]

    @property
    def lost_classes(self) -> tuple[int, ...]:
        """Classes of which resampling left no voxel in the label of the volume."""
        return self.volume.lost_classes

    @cached_property
    def foreground_counts(self) -> NDArray[np.int64]:
        """Pixels with a class above 0 in each row of the first axis; empty for an unlabeled case."""
        return foreground_counts(self.label)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of a pixel in mm."""
        return self.volume.spacing[:2]


def slices(volumes: Iterable[Volume]) -> list[Slice]:
    """Return all slices of `volumes`, in the order of the volumes and of their last axis.

    Args:
        volumes: prepared cases with three spatial axes; only their headers are read.

    Raises:
        DataError: if a volume has another number of axes.
    """
    found = []
    for volume in volumes:
        if volume.image.ndim != 4:
            axes = volume.image.ndim - 1
            msg = f"{volume.case_id} has {axes} spatial axes; slices are cut from volumes of 3."
            raise DataError(msg)
        found += [Slice(volume, index) for index in range(volume.image.shape[-1])]
    return found
