"""Noise, blur, brightness, contrast, low resolution and gamma: what nnU-Net trains with.

Source: nnU-Net v2, `nnUNetTrainer.get_training_transforms`, in its order and with its probabilities
times the probability per channel; ranges are those of `strength` 1. Deviations: noise is relative to
the deviation of the window, so that one setting serves any scale; the coarse grid is made of means,
which do not shift the image, and coarse along all axes, also across thick slices; all channels of a window share their decisions.

Views that are stronger, for methods of weak and strong views, are in `intensity_views`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medsemi.errors import ConfigError
from medsemi.parts.frequency import gaussian_blur
from medsemi.parts.noise import add_noise, draw_seeds

NOISE, BLUR, BRIGHTNESS, CONTRAST, LOW_RESOLUTION, INVERTED_GAMMA, GAMMA = (
    0.1, 0.1, 0.15, 0.15, 0.125, 0.1, 0.3,
)  # fmt: skip
STRONGEST = 2.0
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class AugmentationDraw:
    """How each sample is changed, one entry per sample.

    Attributes:
        noise: standard deviation by that of the window; 0 is none.
        seed: of the field of noise.
        blur: standard deviation of the Gaussian in voxels; 0 is none.
        brightness: factor of all values; 1 changes nothing.
        contrast: factor of the distance to the mean, within the old range; 1 changes nothing.
        zoom: size of the coarse grid by that of the window; 1 changes nothing.
        inverted_gamma: exponent on the inverted window; 1 changes nothing.
        gamma: exponent on the window; 1 changes nothing.
    """

    noise: tuple[float, ...]
    seed: tuple[int, ...]
    blur: tuple[float, ...]
    brightness: tuple[float, ...]
    contrast: tuple[float, ...]
    zoom: tuple[float, ...]
    inverted_gamma: tuple[float, ...]
    gamma: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class IntensityAugmentation:
    """How often and how far intensities are changed; `draw` decides, `apply` does it.

    Attributes:
        probability: factor of nnU-Net's probabilities; 0 changes nothing.
        strength: factor of the width of nnU-Net's ranges, above 0 to 2.
    """

    probability: float = 1.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one cannot be.
        """
        if self.probability < 0:
            raise ConfigError(f"intensity_probability is {self.probability}; give 0 or more.")
        if not 0 < self.strength <= STRONGEST:
            raise ConfigError(
                f"intensity_strength is {self.strength}; give above 0 to {STRONGEST}."
            )

    def draw(self, count: int, generator: torch.Generator) -> AugmentationDraw:
        """Draw the changes of `count` samples."""
        s = self.strength
        return AugmentationDraw(
            noise=self._drawn(count, NOISE, (0.0, 0.0, 0.1 * s), 0.0, generator),
            seed=draw_seeds(count, generator),
            blur=self._drawn(count, BLUR, (0.5, 0.5, 0.5 + 0.5 * s), 0.0, generator),
            brightness=self._drawn(
                count, BRIGHTNESS, (1 - 0.25 * s, 1.0, 1 + 0.25 * s), 1.0, generator
            ),
            contrast=self._drawn(
                count, CONTRAST, (1 - 0.25 * s, 1.0, 1 + 0.25 * s), 1.0, generator
            ),
            zoom=self._drawn(
                count, LOW_RESOLUTION, (max(1 - 0.5 * s, 0.25), 1.0, 1.0), 1.0, generator
            ),
            inverted_gamma=self._drawn(
                count, INVERTED_GAMMA, (1 - 0.3 * s, 1.0, 1 + 0.5 * s), 1.0, generator
            ),
            gamma=self._drawn(count, GAMMA, (1 - 0.3 * s, 1.0, 1 + 0.5 * s), 1.0, generator),
        )

    def _drawn(
        self,
        count: int,
        probability: float,
        bounds: tuple[float, float, float],
        otherwise: float,
        generator: torch.Generator,
    ) -> tuple[float, ...]:
        """Draw below or above the middle of `bounds` with equal probability, where both exist."""
        chosen, below, place = torch.rand(3, count, generator=generator)
        low, middle, high = bounds
        share = 0.5 if low < middle < high else float(low < middle)
        lower, upper = low + (middle - low) * place, middle + (high - middle) * place
        values = torch.where(below < share, lower, upper)
        often = chosen < self.probability * probability
        return tuple(torch.where(often, values, otherwise).tolist())

    def apply(self, image: Tensor, draw: AugmentationDraw) -> Tensor:
        """Return each sample changed; `image` is (batch, channels, *space)."""
        with torch.autocast(image.device.type, enabled=False):
            return torch.cat([_changed(image[i : i + 1], draw, i) for i in range(len(image))])


def _changed(image: Tensor, draw: AugmentationDraw, i: int) -> Tensor:
    image = add_noise(image, draw.seed[i : i + 1], draw.noise[i], clip=float("inf"))
    if draw.blur[i] > 0.0:
        image = gaussian_blur(image, draw.blur[i])
    if draw.brightness[i] != 1.0:
        image = image * draw.brightness[i]
    if draw.contrast[i] != 1.0:
        image = _contrast(image, draw.contrast[i])
    if draw.zoom[i] != 1.0:
        image = _coarse(image, draw.zoom[i])
    if draw.inverted_gamma[i] != 1.0:
        image = -_gamma(-image, draw.inverted_gamma[i])
    if draw.gamma[i] != 1.0:
        image = _gamma(image, draw.gamma[i])
    return image


def _axes(image: Tensor) -> tuple[int, ...]:
    return tuple(range(2, image.ndim))


def _contrast(image: Tensor, factor: float) -> Tensor:
    axes = _axes(image)
    mean = image.mean(axes, keepdim=True)
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    return (mean + factor * (image - mean)).clamp(low, high)


def _coarse(image: Tensor, zoom: float) -> Tensor:
    size = [max(round(n * zoom), 1) for n in image.shape[2:]]
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    coarse = functional.interpolate(image, size, mode="area")
    return functional.interpolate(coarse, image.shape[2:], mode=mode)


def _gamma(image: Tensor, exponent: float) -> Tensor:
    """Take the exponent on the range of each channel, and give mean and deviation back."""
    axes = _axes(image)
    deviation, mean = torch.std_mean(image, axes, correction=0, keepdim=True)
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    curved = ((image - low) / (high - low + _TINY)).clamp_min(_TINY) ** exponent
    spread, middle = torch.std_mean(curved, axes, correction=0, keepdim=True)
    return (curved - middle) * (deviation / (spread + _TINY)) + mean
