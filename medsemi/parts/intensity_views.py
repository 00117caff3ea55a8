"""Strong views that change intensities and no geometry, so that a label stays where it is.

After the strong view of UniMatch for medical images (Yang et al., CVPR 2023, arXiv 2208.09910,
`more-scenarios/medical/dataset/acdc.py`): ColorJitter(0.5, 0.5, 0.5, 0.25) with probability 0.8,
then Gaussian blur of 0.1 to 2 pixels with probability 0.5. Deviations: that code works on images of
8 bits; here all is relative to the window's own mean, deviation and range, so that one setting
serves any scale. Saturation and hue, which do nothing to one channel, give way to gamma and noise
(nnU-Net's `nnUNetTrainer.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medsemi.parts.checked_options import check_bounds, check_positive, check_range
from medsemi.parts.frequency import gaussian_blur
from medsemi.parts.noise import add_noise, draw_seeds

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class IntensityDraw:
    """How each sample is changed, one entry per sample.

    Attributes:
        contrast: factor of the distance to the mean; 1 changes nothing.
        brightness: what is added, in standard deviations.
        gamma: exponent on the window's range; 1 changes nothing.
        blur: standard deviation of the Gaussian in voxels; 0 is none.
        noise: standard deviation by that of the window; 0 is none.
        seed: of the field of noise.
    """

    contrast: tuple[float, ...]
    brightness: tuple[float, ...]
    gamma: tuple[float, ...]
    blur: tuple[float, ...]
    noise: tuple[float, ...]
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IntensityViews:
    """How strong views are made; `draw` decides, `apply` makes them.

    Attributes:
        jitter: probability of contrast, brightness and gamma, together.
        contrast: range of the factor.
        brightness: range in standard deviations.
        gamma: range of the exponent.
        blurred: probability of blur.
        blur: range of its standard deviation in voxels.
        noisy: probability of noise.
        noise: range of its standard deviation by that of the window.
    """

    jitter: float = 0.8
    contrast: Range = (0.5, 1.5)
    brightness: Range = (-0.5, 0.5)
    gamma: Range = (0.7, 1.5)
    blurred: float = 0.5
    blur: Range = (0.1, 2.0)
    noisy: float = 0.5
    noise: Range = (0.0, 0.1)

    def __post_init__(self) -> None:
        """Refuse what cannot be applied."""
        check_range(0, 1, jitter=self.jitter, blurred=self.blurred, noisy=self.noisy)
        check_bounds(-math.inf, contrast=self.contrast, brightness=self.brightness)
        check_bounds(0, gamma=self.gamma, blur=self.blur, noise=self.noise)
        check_positive(gamma=self.gamma[0])

    def draw(self, count: int, generator: torch.Generator) -> IntensityDraw:
        """Draw the views of `count` samples."""
        jitter, blurred, noisy = (
            torch.rand(count, generator=generator) < p
            for p in (self.jitter, self.blurred, self.noisy)
        )
        return IntensityDraw(
            contrast=_uniform(self.contrast, jitter, 1.0, generator),
            brightness=_uniform(self.brightness, jitter, 0.0, generator),
            gamma=_uniform(self.gamma, jitter, 1.0, generator),
            blur=_uniform(self.blur, blurred, 0.0, generator),
            noise=_uniform(self.noise, noisy, 0.0, generator),
            seed=draw_seeds(count, generator),
        )

    def apply(self, image: Tensor, draw: IntensityDraw) -> Tensor:
        """Return the view of each sample; `image` is (batch, channels, *space)."""
        with torch.autocast(image.device.type, enabled=False):
            return torch.cat([_view(image[i : i + 1], draw, i) for i in range(len(image))])


def _view(image: Tensor, draw: IntensityDraw, i: int) -> Tensor:
    axes = tuple(range(2, image.ndim))
    deviation, mean = torch.std_mean(image, axes, correction=0, keepdim=True)
    view = mean + draw.contrast[i] * (image - mean) + draw.brightness[i] * deviation
    if draw.gamma[i] != 1.0:
        low, high = view.amin(axes, keepdim=True), view.amax(axes, keepdim=True)
        extent = high - low + 1e-6
        view = low + extent * ((view - low) / extent) ** draw.gamma[i]
    if draw.blur[i] > 0.0:
        view = gaussian_blur(view, draw.blur[i])
    return add_noise(view, draw.seed[i : i + 1], draw.noise[i])


def _uniform(
    bounds: Range, chosen: Tensor, otherwise: float, generator: torch.Generator
) -> tuple[float, ...]:
    low, high = bounds
    values = low + (high - low) * torch.rand(len(chosen), generator=generator)
    return tuple(torch.where(chosen, values, otherwise).tolist())
