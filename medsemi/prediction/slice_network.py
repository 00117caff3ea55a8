"""A network of slices as a network of volumes: its windows are one slice thick."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

Triple = tuple[int, int, int]


class SliceNetwork(nn.Module):
    """Gives a network of two dimensions windows of three, the last of which has one voxel.

    Args:
        network: takes (batch, channels, x, y) and returns scores (batch, classes, x, y).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        """Scores (batch, classes, x, y, 1) of windows (batch, channels, x, y, 1)."""
        scores: Tensor = self.network(windows.squeeze(-1))
        return scores.unsqueeze(-1)


def as_stack_window(edges: Sequence[int]) -> Triple:
    """Edges or steps of windows in slices, one voxel along the third axis; three stay as they are."""
    x, y, z = (*edges, 1) if len(edges) == 2 else edges
    return int(x), int(y), int(z)
