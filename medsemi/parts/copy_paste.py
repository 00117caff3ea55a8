"""Boxes that move content from one window to another: drawn here, applied there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medsemi.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel block of voxels, the one random decision of a copy-paste step.

    Attributes:
        corner: first voxel per axis.
        size: edge length per axis, in voxels.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]


def box_size(space: Sequence[int], ratio: float) -> tuple[int, ...]:
    """Return the edge of the box per axis, floor(n * ratio), for a window of shape `space`.

    Raises:
        ConfigError: if the ratio is not within 0 to 1.
    """
    if not 0 <= ratio <= 1:
        raise ConfigError(f"hole_ratio is {ratio}; give 0 to 1.")
    # 96 * (2/3) is 63.99… in some orders of evaluation; the published edge is the exact one.
    return tuple(math.floor(n * ratio + 1e-9) for n in space)


def draw_box(space: Sequence[int], ratio: float, generator: torch.Generator) -> Box:
    """Draw where the box sits, uniformly over all places inside a window of shape `space`.

    Source: BCP, `utils/BCP_utils.py` (context_mask). Deviation: the published upper bound is
    exclusive, so that the last place is never used there; it is used here.
    """
    size = box_size(space, ratio)
    corner = [
        int(torch.randint(n - edge + 1, (), generator=generator))
        for n, edge in zip(space, size, strict=True)
    ]
    return Box(tuple(corner), size)


def outside_mask(box: Box, space: Sequence[int], device: torch.device) -> Tensor:
    """Return True outside the box and False inside; shape `space`."""
    mask = torch.ones(tuple(space), dtype=torch.bool, device=device)
    mask[tuple(slice(c, c + n) for c, n in zip(box.corner, box.size, strict=True))] = False
    return mask


def draw_boxes(
    count: int,
    space: Sequence[int],
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    share: tuple[float, float] = (0.02, 0.4),
    ratio: float = 1 / 0.3,
) -> tuple[Box, ...]:
    """Draw a box per sample, or one of no voxel where there is none (CutMix, Cutout).

    Args:
        count: number of samples.
        space: shape of the window.
        generator: on the CPU.
        probability: that a sample has a box.
        share: range of the share of the window's voxels, uniform.
        ratio: largest ratio of two edges, as shares of the window.

    Source: UniMatch, `dataset/transform.py` (obtain_cutmix_box), with its constants. Deviations:
    any number of axes; stretching is uniform in its logarithm, so that no axis is preferred; an
    edge longer than the window is cut, and not drawn again.
    """
    return tuple(
        _draw_box(space, generator, share, ratio)
        if float(torch.rand((), generator=generator)) < probability
        else Box((0,) * len(space), (0,) * len(space))
        for _ in range(count)
    )


def _draw_box(
    space: Sequence[int], generator: torch.Generator, share: tuple[float, float], ratio: float
) -> Box:
    volume = share[0] + (share[1] - share[0]) * float(torch.rand((), generator=generator))
    stretch = math.log(ratio) * (torch.rand(len(space), generator=generator) - 0.5)
    edges = (volume ** (1 / len(space)) * torch.exp(stretch - stretch.mean())).tolist()
    size = [min(max(round(n * edge), 1), n) for n, edge in zip(space, edges, strict=True)]
    corner = [
        int(torch.randint(n - edge + 1, (), generator=generator))
        for n, edge in zip(space, size, strict=True)
    ]
    return Box(tuple(corner), tuple(size))


def outside_masks(boxes: Sequence[Box], space: Sequence[int], device: torch.device) -> Tensor:
    """Return `outside_mask` of each sample; shape (batch, 1, *space)."""
    return torch.stack([outside_mask(box, space, device) for box in boxes]).unsqueeze(1)


def mix(outside: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
    """Take `outside` where `mask` is True and `inside` where it is not."""
    return torch.where(mask, outside, inside)


def halves(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Split windows into two halves of equal size; an odd one in the middle is in both."""
    half = (len(windows) + 1) // 2
    return windows[:half], windows[-half:]


def check_pairs(labeled: int, unlabeled: int) -> None:
    """Refuse numbers of labeled and unlabeled windows whose halves cannot be pasted by pairs.

    Raises:
        ConfigError: which names both.
    """
    if (labeled + 1) // 2 != (unlabeled + 1) // 2:
        raise ConfigError(
            f"labeled_windows is {labeled} and unlabeled_windows is {unlabeled};"
            " copy-paste pairs them, so give both the same number."
        )
