"""The batch of one optimizer step, below both data and methods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sub:
    """One sub-batch of windows that share a role.

    Attributes:
        image: float32, shape (batch, channels, *space).
        label: uint8 class indices, shape (batch, *space); None for unlabeled cases, whose labels
            are never read.
        case_ids: the case of each window.
        square_voxels: whether quarter turns in the plane of the first two axes keep what is seen in
            every window, because its voxels are as long as wide.
    """

    image: Tensor
    label: Tensor | None
    case_ids: tuple[str, ...]
    square_voxels: bool = True

    def to(self, device: torch.device) -> Sub:
        """Return the same windows on `device`, copied without blocking where memory is pinned."""
        image = self.image.to(device, non_blocking=True)
        label = None if self.label is None else self.label.to(device, non_blocking=True)
        return replace(self, image=image, label=label)

    def pin_memory(self) -> Sub:
        """Return the same windows in page-locked memory (called by the data loader)."""
        label = None if self.label is None else self.label.pin_memory()
        return replace(self, image=self.image.pin_memory(), label=label)


@dataclass(frozen=True, slots=True)
class Batch:
    """Labeled windows with their labels, unlabeled windows without.

    Attributes:
        labeled: windows with labels.
        unlabeled: windows without labels; None where a method asks for none.
    """

    labeled: Sub
    unlabeled: Sub | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.to(device)
        return Batch(self.labeled.to(device), unlabeled)

    def pin_memory(self) -> Batch:
        """Return the same batch in page-locked memory (called by the data loader)."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.pin_memory()
        return Batch(self.labeled.pin_memory(), unlabeled)
