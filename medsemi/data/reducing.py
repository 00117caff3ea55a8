"""Slices with fewer pixels: what a large pixel covers decides, its mean and the class with most area."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import resize_local_mean

# Far less than a pixel of the source covers, so that it only decides where areas are alike.
_TIE_WEIGHT = 0.001


def reduced_plane(plane: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """Shape of a slice whose longest side has at most so many pixels.

    Args:
        plane: shape of the slice in pixels.
        longest_side: in pixels, above 0.

    Returns:
        The shape with the aspect ratio kept to half a pixel, both sides at least 1; `plane` itself where
        it is no longer than that.
    """
    longest = max(plane)
    if longest <= longest_side:
        return plane
    first, second = (max(1, round(side * longest_side / longest)) for side in plane)
    return first, second


def reduce_image(image: NDArray[np.float32], plane: tuple[int, int]) -> NDArray[np.float32]:
    """Average over the area that each new pixel covers, parts of pixels by their share.

    Args:
        image: (slice, y, x).
        plane: new shape (y, x), not larger than the old one.

    Returns:
        Shape (slice, *plane); slices are not mixed.
    """
    return _covered(image, plane).astype(np.float32)


def reduce_label(label: NDArray[np.uint8], plane: tuple[int, int]) -> NDArray[np.uint8]:
    """Give each new pixel the class that covers most of it.

    Where two cover the same, as often at a factor of 2, that one wins which has more around the pixel
    (triangle filter). The lower number wins what is then still alike, as along straight edges; winning
    every tie, it would take more area from the others.

    Args:
        label: (slice, y, x).
        plane: new shape (y, x), not larger than the old one.

    Returns:
        Shape (slice, *plane).
    """
    masks = (label == number for number in range(int(label.max()) + 1))
    scores = [_covered(mask, plane) + _TIE_WEIGHT * _around(mask, plane) for mask in masks]
    classes: NDArray[np.uint8] = np.stack(scores).argmax(0).astype(np.uint8)
    return classes


def _covered(array: NDArray[Any], plane: tuple[int, int]) -> NDArray[np.float64]:
    # In float32 the borders of the pixels would be rounded, and ties be decided by that.
    exact = array.astype(np.float64)
    shape = (len(array), *plane)
    means: NDArray[np.float64] = resize_local_mean(exact, shape, preserve_range=True)  # type: ignore[no-untyped-call]
    return means


def _around(mask: NDArray[np.bool_], plane: tuple[int, int]) -> NDArray[np.float32]:
    # Pillow widens its triangle with the factor; `skimage.transform.resize` blurs by a Gaussian instead.
    pictures = (Image.fromarray(part) for part in mask.astype(np.float32))
    size = (plane[1], plane[0])  # Pillow counts x first
    return np.stack([np.asarray(each.resize(size, Image.Resampling.BILINEAR)) for each in pictures])
