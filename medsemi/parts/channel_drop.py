"""Channels of a network's features that are dropped from outside, where a method says so.

Yang, Zhao, Zhao: UniMatch V2, arXiv 2410.10777: of two views of a window, one keeps the channels
that the other lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medsemi.parts.named_part import named_part
from medsemi.parts.sending import on_device


@dataclass(frozen=True, slots=True)
class Channels:
    """Which channels one sample keeps.

    Attributes:
        seed: of the choice; None keeps all.
        complement: keep what the seed would drop.
    """

    seed: int | None = None
    complement: bool = False


class ChannelDrop:
    """Multiplies what a named part of a network returns, by 2 or 0 per sample and channel."""

    def __init__(self, network: nn.Module, name: str) -> None:
        """Listen to the part; nothing is dropped outside of `of`.

        Args:
            network: whose features are dropped; its weights and their names stay as they are.
            name: of the part, such as `encoder`; it returns a tensor or several.

        Raises:
            ConfigError: if the network has no part of that name.
        """
        self.channels: Sequence[Channels] = ()
        named_part(network, name, "features").register_forward_hook(self._drop)

    @contextmanager
    def of(self, channels: Sequence[Channels]) -> Iterator[None]:
        """Drop the channels of each sample of the passes inside of this context."""
        self.channels = channels
        try:
            yield
        finally:
            self.channels = ()

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # runs as it stands
    def _drop(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]
    ) -> Tensor | tuple[Tensor, ...]:
        if not self.channels:
            return output
        maps = (output,) if isinstance(output, Tensor) else tuple(output)
        widths = [features.shape[1] for features in maps]
        factors = torch.stack([channel_factors(one, sum(widths)) for one in self.channels])
        factors = on_device(factors, maps[0].device, maps[0].dtype)
        dropped = tuple(
            features * share.view(*share.shape, *[1] * (features.ndim - 2))
            for features, share in zip(maps, factors.split(widths, 1), strict=True)
        )
        return dropped[0] if isinstance(output, Tensor) else dropped


def channel_factors(channels: Channels, width: int) -> Tensor:
    """Return 2 for a channel that is kept, with probability 1/2, and 0 for one that is dropped.

    Source: UniMatch V2, `model/semseg/dpt.py`: a Bernoulli mask times 2, and 2 minus it.
    """
    if channels.seed is None:
        return torch.ones(width)
    generator = torch.Generator().manual_seed(channels.seed)
    kept = 2.0 * torch.randint(2, (width,), generator=generator)
    return 2.0 - kept if channels.complement else kept
