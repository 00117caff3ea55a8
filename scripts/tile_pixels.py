"""Slices, labels and probabilities as pixels of a picture."""

from __future__ import annotations

import numpy as np
from diagram import BORDER, LIKELY, UNLIKELY
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]

DARKEST, BRIGHTEST = -2.2, 2.8  # the same for all tiles: a view with more contrast shows it
UNSURE = 0.6  # how much of a voxel that does not count is covered with gray


def scan(image: Tensor) -> Pixels:
    """A slice (48, 48) or (1, 48, 48) in gray."""
    grey = (image.detach().squeeze() - DARKEST) / (BRIGHTEST - DARKEST)
    pixels = (grey.clamp(0, 1) * 255).byte().numpy()
    return np.stack([pixels] * 3, axis=-1)


def outlined(
    image: Tensor, label: Tensor, color: tuple[int, int, int], counts: Tensor | None = None
) -> Pixels:
    """A slice with the border of a label, whose pixels are inside of it.

    Args:
        image: (1, 48, 48).
        label: (48, 48).
        color: of the border.
        counts: (48, 48), the pixels that are not covered with gray; None is all.
    """
    pixels, inside = scan(image), label.bool().squeeze().numpy()
    pixels = pixels if counts is None else shaded(pixels, counts)
    around = np.pad(inside, 1)
    core = around[2:, 1:-1] & around[:-2, 1:-1] & around[1:-1, 2:] & around[1:-1, :-2]
    pixels[inside & ~core] = color
    return pixels


def shaded(pixels: Pixels, counts: Tensor) -> Pixels:
    """Pixels that do not count are covered with gray."""
    hidden = ~counts.bool().squeeze().numpy()
    covered = pixels.copy()
    covered[hidden] = ((1 - UNSURE) * covered[hidden] + UNSURE * 160).astype(np.uint8)
    return covered


def boxed(pixels: Pixels, outside: Tensor) -> Pixels:
    """Pixels with a dotted border around a box; `outside` is False in it, (48, 48)."""
    inside = ~outside.squeeze().numpy()
    if not inside.any():
        return pixels
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    around = inside.copy()
    around[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]] = False
    dots = np.add.outer(np.arange(inside.shape[0]), np.arange(inside.shape[1])) % 3 > 0
    marked = pixels.copy()
    marked[around & dots] = BORDER
    return marked


def heat(values: Tensor) -> Pixels:
    """Values from 0 (white) to 1 (dark blue), shape (48, 48)."""
    share = values.detach().squeeze().clamp(0, 1).numpy()[..., None]
    low, high = np.array(UNLIKELY, np.float64), np.array(LIKELY, np.float64)
    pixels: Pixels = (low + (high - low) * share).astype(np.uint8)
    return pixels
