"""UCF-Mix: two views of a window exchange the blocks that are most uncertain.

Of the published UCF-Mix (Zhou et al., arXiv 2504.11856) only the abstract is known: that it is
guided by uncertainty, mixes frequencies and keeps targets whole. The uncertainty is that of UCMT
(Shen et al., arXiv 2301.04465). What is exchanged is inferred: a block of the low view and the
block of the high view at the same place. Both show the same anatomy there, so that no label moves
and nothing thin is cut. UCMT itself moves blocks from elsewhere in the window; that is the mode
`displaced`, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medsemi.errors import ConfigError
from medsemi.parts.blocks import block_grid, block_means, blocks_to_voxels, gather_blocks
from medsemi.parts.sending import on_device
from medsemi.parts.uncertainty import most_uncertain

MODES = ("union", "fill", "random", "displaced")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Which blocks come from where.

    Attributes:
        into_low: the blocks that the low view takes from the high one, shape (batch, blocks), bool.
        into_high: the blocks that the high view takes from the low one.
        source: the block that each block, of both views and of the label, is then filled from,
            shape (batch, blocks); None where everything stays in its place.
        grid: blocks per axis.
    """

    into_low: Tensor
    into_high: Tensor
    source: Tensor | None
    grid: tuple[int, ...]

    def apply(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed low and high view; both have the shape (batch, channels, *space)."""
        space = low.shape[2:]
        into_low, into_high = (
            blocks_to_voxels(mask, self.grid, space).unsqueeze(1)
            for mask in (self.into_low, self.into_high)
        )
        mixed_low, mixed_high = torch.where(into_low, high, low), torch.where(into_high, low, high)
        return self.move(mixed_low), self.move(mixed_high)

    def move(self, values: Tensor) -> Tensor:
        """Return `values` (batch, channels, *space) with their blocks where those of the views go."""
        return values if self.source is None else gather_blocks(values, self.source, self.grid)

    def label(self, label: Tensor) -> Tensor:
        """Return the label of the mixed views, shape (batch, *space): the same where none moves."""
        return self.move(label.unsqueeze(1)).squeeze(1)

    def foreground(self, label: Tensor) -> Tensor:
        """Return the foreground share of `label` in the blocks that the low view takes."""
        taken = blocks_to_voxels(self.into_low, self.grid, label.shape[1:])
        return ((label > 0) & taken).sum() / taken.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class UCFMix:
    """How blocks are chosen.

    Attributes:
        mode: `union`: the most uncertain blocks of either student are exchanged; `fill`: each view
            takes its most uncertain blocks from the other one where that one is surer; `random`: as
            many blocks as in `union`, drawn; `displaced`: as `union`, and these blocks are then
            filled with those that the other student is most certain of, label and all (UMIX).
        blocks: per axis, one number for all or one for each; they must divide the window. None is
            8 in 2D and 6 in 3D (UCMT: 16 and 8).
        share: of all blocks that are most uncertain, per student; at least one is (UCMT: 2 blocks).
    """

    mode: str = "union"
    blocks: int | Sequence[int] | None = None
    share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be applied."""
        if self.mode not in MODES:
            raise ConfigError(f"mode is '{self.mode}'; it must be one of {', '.join(MODES)}.")
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"share is {self.share}; it must be between 0 and 1.")

    def grid(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the number of blocks per axis.

        Raises:
            ConfigError: if they do not divide a window of shape `space`.
        """
        blocks = self.blocks if self.blocks is not None else {2: 8, 3: 6}[len(space)]
        return block_grid(space, blocks)

    def draw(
        self, count: int, space: Sequence[int], generator: torch.Generator
    ) -> tuple[tuple[int, ...], ...]:
        """Draw the order of blocks of each sample for the mode `random`; the others draw nothing.

        Raises:
            ConfigError: if the blocks do not divide a window of shape `space`.
        """
        blocks = torch.Size(self.grid(space)).numel()
        if self.mode != "random":
            return ()
        orders = (torch.randperm(blocks, generator=generator) for _ in range(count))
        return tuple(tuple(order.tolist()) for order in orders)

    def choose(
        self, uncertainty_low: Tensor, uncertainty_high: Tensor, order: Sequence[Sequence[int]]
    ) -> Exchange:
        """Choose the blocks.

        Args:
            uncertainty_low: of the student that sees the low view, shape (batch, *space).
            uncertainty_high: of the student that sees the high view.
            order: what `draw` returned.
        """
        grid = self.grid(uncertainty_low.shape[1:])
        score_low, score_high = (block_means(u, grid) for u in (uncertainty_low, uncertainty_high))
        count = max(1, round(self.share * score_low.shape[1]))
        top_low, top_high = most_uncertain(score_low, count), most_uncertain(score_high, count)
        in_low, in_high = _indicator(top_low, score_low), _indicator(top_high, score_high)
        union = in_low | in_high
        if self.mode == "fill":
            in_low, in_high = in_low & (score_high < score_low), in_high & (score_low < score_high)
            return Exchange(in_low, in_high, None, grid)
        if self.mode == "random":
            rank = on_device(order, union.device).argsort(1)
            union = rank < union.sum(1, keepdim=True)
        source = None
        if self.mode == "displaced":
            certain_low, certain_high = (
                most_uncertain(-score, count) for score in (score_low, score_high)
            )
            source = _displacement(union, [(top_low, certain_high), (top_high, certain_low)])
        return Exchange(union, union, source, grid)


def _indicator(blocks: Tensor, scores: Tensor) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, blocks, True)


def _displacement(like: Tensor, moves: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Where each block is filled from after the moves; a later one sees what an earlier one left.

    Source: UCMT, `train_3d.py`, where both students write into the same image in turn.
    """
    source = torch.arange(like.shape[1], device=like.device).repeat(len(like), 1)
    for into, origin in moves:
        source = source.scatter(1, into, source.gather(1, origin))
    return source
