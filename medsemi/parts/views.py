"""Two views of a window: low frequencies with a little of the high ones, and the reverse.

Zhou, Li, Wang, Liu, Liu, Yang: XNet v2, BIBM 2024, arXiv 2409.00947, whose ranges of alpha and beta
are the defaults. Two things differ. The bands have the size of the window (see `frequency`). And
each is standardized before they are mixed: a high band holds two to four percent of the variance
of a scan, so that views of raw bands are the same image twice (correlation 0.97, measured on six
left-atrium MRI). Of standardized Haar bands the correlation is known beforehand:

    (alpha + beta) / sqrt((1 + alpha^2) (1 + beta^2)),    0.699 for 0.2 and 0.65
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.parts.checked_options import check_bounds
from medsemi.parts.frequency import KINDS, low_pass
from medsemi.parts.sending import on_device

Band = Literal["low", "high"]
# `none` is the ablation: what is left of a method when its students see the window itself.
VIEW_KINDS = (*KINDS, "none")


@dataclass(frozen=True, slots=True)
class ViewDraw:
    """How the views of a batch are mixed.

    Attributes:
        alpha: share of the high band in the low view, one value per sample.
        beta: share of the low band in the high view, one value per sample.
        anchor: the voxel per axis at which a Haar block begins, the same for all samples.
    """

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    anchor: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrequencyViews:
    """How views are made; `draw` decides, `apply` makes them.

    Attributes:
        kind: of the low-pass: `haar`, `gaussian` or `fft`, see `medsemi.parts.frequency`; with
            `none` both views are the window itself.
        levels_low: of the low-pass that the low view shows.
        levels_high: of the low-pass that the high view lacks. Tubes of up to 4 voxels are in the
            high band from two levels on; with more levels than `levels_low` the bands overlap.
        alpha_range: alpha of a training step is uniform in it (XNet v2).
        beta_range: the same for beta (XNet v2).
        alpha: the fixed value where nothing is drawn (XNet v2, validation and test).
        beta: the fixed value where nothing is drawn.
        standardize: give each band mean 0 and standard deviation 1 before the two are mixed;
            without it the bands are mixed raw, as published.
        moving_blocks: draw where Haar blocks begin; without it they begin at the window's corner.
    """

    kind: str = "haar"
    levels_low: int = 1
    levels_high: int = 1
    alpha_range: Sequence[float] = (0.0, 0.4)
    beta_range: Sequence[float] = (0.5, 0.8)
    alpha: float = 0.2
    beta: float = 0.65
    standardize: bool = True
    moving_blocks: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be applied."""
        if self.kind not in VIEW_KINDS:
            raise ConfigError(f"kind is '{self.kind}'; it must be one of {', '.join(VIEW_KINDS)}.")
        if min(self.levels_low, self.levels_high) < 1:
            raise ConfigError(
                f"levels_low is {self.levels_low} and levels_high is {self.levels_high};"
                " both must be at least 1."
            )
        check_bounds(0, alpha_range=self.alpha_range, beta_range=self.beta_range)

    def draw(self, count: int, axes: int, generator: torch.Generator) -> ViewDraw:
        """Draw the views of `count` samples with `axes` axes in space."""
        alpha = _uniform(self.alpha_range, count, generator)
        beta = _uniform(self.beta_range, count, generator)
        # Blocks of both low-passes repeat within the larger of the two.
        places = 2 ** max(self.levels_low, self.levels_high) if self.moving_blocks else 1
        anchor = torch.randint(places, (axes,), generator=generator).tolist()
        return ViewDraw(alpha, beta, tuple(anchor))

    def fixed(self, count: int, axes: int) -> ViewDraw:
        """Return what a trained network is shown: nothing of it is drawn."""
        return ViewDraw((self.alpha,) * count, (self.beta,) * count, (0,) * axes)

    def apply(self, image: Tensor, draw: ViewDraw) -> tuple[Tensor, Tensor]:
        """Return the low and the high view, each of mean 0 and standard deviation 1.

        Both follow the anatomy of `image` voxel by voxel, and neither depends on the gain or the
        offset of the scanner. Statistics are those of the window, per sample and channel.

        Args:
            image: shape (batch, channels, *space).
            draw: for as many samples.
        """
        if self.kind == "none":
            return image, image
        shape = (-1, *[1] * (image.ndim - 1))
        alpha, beta = (
            on_device(values, image.device, image.dtype).view(shape)
            for values in (draw.alpha, draw.beta)
        )
        with torch.autocast(image.device.type, enabled=False):
            low, high = self._bands(image, draw.anchor)
            return standardized(low + alpha * high), standardized(high + beta * low)

    def _bands(self, image: Tensor, anchor: Sequence[int]) -> tuple[Tensor, Tensor]:
        # A constant window becomes exactly 0 here; later its rounding noise would be standardized.
        image = standardized(image)
        low = low_pass(image, self.kind, self.levels_low, anchor)
        kept = low
        if self.levels_high != self.levels_low:
            kept = low_pass(image, self.kind, self.levels_high, anchor)
        high = image - kept
        return (standardized(low), standardized(high)) if self.standardize else (low, high)


def standardized(image: Tensor) -> Tensor:
    """Give each sample and channel mean 0 and standard deviation 1; a constant one becomes 0."""
    axes = tuple(range(2, image.ndim))
    deviation, mean = torch.std_mean(image, axes, correction=0, keepdim=True)
    return (image - mean) / (deviation + 1e-6)


class OnView(nn.Module):
    """A network that is given the plain window and sees its own view of it."""

    def __init__(self, network: nn.Module, views: FrequencyViews, band: Band) -> None:
        """Own the network.

        Args:
            network: what sees the view.
            views: how it is made.
            band: which of the two it is.
        """
        super().__init__()
        self.network, self.views, self.band = network, views, band

    def forward(self, image: Tensor) -> Tensor:
        """Return what the network says of its fixed view of `image`."""
        low, high = self.views.apply(image, self.views.fixed(len(image), image.ndim - 2))
        result: Tensor = self.network(low if self.band == "low" else high)
        return result

    def compile(self, *args: object, **kwargs: object) -> None:
        """Compile the network alone, which training shows drawn views."""
        self.network.compile(*args, **kwargs)


def _uniform(bounds: Sequence[float], count: int, generator: torch.Generator) -> tuple[float, ...]:
    low, high = bounds
    return tuple((low + (high - low) * torch.rand(count, generator=generator)).tolist())
