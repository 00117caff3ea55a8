"""Which sample is mixed with which, and in which shares: drawn here, applied there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medsemi.parts.sending import on_device


def draw_partners(count: int, generator: torch.Generator) -> tuple[int, ...]:
    """Draw a partner for each sample, another one where there are two or more: a cyclic shift."""
    if count < 2:
        return (0,) * count
    shift = int(torch.randint(1, count, (), generator=generator))
    return tuple((i + shift) % count for i in range(count))


def draw_shares(count: int, alpha: float, generator: torch.Generator) -> tuple[float, ...]:
    """Draw a share per sample from Beta(alpha, alpha).

    Source: Zhang, Cisse, Dauphin, Lopez-Paz: mixup, ICLR 2018, arXiv 1710.09412.
    """
    # torch samples no Beta from a generator that is passed to it.
    seed = int(torch.randint(2**62, (), generator=generator))
    return tuple(np.random.default_rng(seed).beta(alpha, alpha, count).tolist())


def blend(one: Tensor, other: Tensor, shares: Sequence[float]) -> Tensor:
    """Return (1 - share) one + share other, with a share of `other` per sample."""
    share = on_device(shares, one.device, one.dtype)
    return torch.lerp(one, other, share.view(-1, *[1] * (one.ndim - 1)))
