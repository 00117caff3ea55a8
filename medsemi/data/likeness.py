"""Is this the same image, whatever was done to its file?

Each image is remembered as a thumbnail of 24 x 24 x 24 bytes of its content alone: no name, no header,
no spacing. Two thumbnails are compared in all 48 orientations of a cube by what is left between two
blurs, where anatomy that all people share has little weight; the most alike are laid over each other
(shift and scale along each axis, by Gauss-Newton as Lucas and Kanade, IJCAI 1981) and compared again.
So a copy is found that was renamed, resampled, re-oriented, cropped by some percent of an edge,
rescaled in intensity or saved in another format.

What is alike at 24 cells may still be two patients: in CT the outline of the body and the circle of the
field of view outweigh all that is within. So where it counts, the images themselves are compared at up
to 64 cells along each axis, region by region: only of one image do the details agree in nearly all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float32]

EDGE = 24
# Below this an image holds too little to be told from another; equal content is still found.
LEAST_VOXELS = 4096
# Likeness above which two images are one. Measured on 80 left-atrium and 160 cine heart images:
# copies after each change above scored at least 0.96, images of two patients at most 0.72 where it is
# known who is who, two scans of one patient mostly 0.8 to 0.95.
SAME_IMAGE = 0.955
SAME_PATIENT = 0.8
# Agreement in detail from which two images are one for certain. Copies had at least 0.66 (a crop of a
# noisy CT less), two scans of one left atrium at most 0.16, two phases of one heart 0.59, phantoms of
# CT that share their outline at most 0.41.
SAME_DETAILS = 0.65
_DETAIL_EDGE, _DETAIL_BAND, _DETAIL_BLURS, _REGION = 64, (0.5, 1.5), (1.5, 0.7), 2.0
_LEAST_EDGE = 8
# Only pairs this alike at a glance, and of each image only so many, are laid over each other.
_GLANCE = 0.6
_PARTNERS = 2
_COARSE_BAND, _FINE_BAND = (0.8, 2.5), (0.6, 3.0)
_BLURS = (2.0, 1.0)
_ITERATIONS = 6
_MOST_SHIFT, _LEAST_SCALE, _MOST_SCALE = 0.2, 0.75, 1.33  # the first is a share of an edge
_ORIENTATIONS = tuple(product(permutations(range(3)), product((1, -1), repeat=3)))


@dataclass(frozen=True)
class Alike:
    """Two images that look like one; `first` and `second` are indices, `likeness` is at most 1."""

    first: int
    second: int
    likeness: float


def thumbnail(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Shrink an image to what is compared.

    Args:
        array: shape (x, y), (x, y, z) or (x, y, z, channels), of which the first channel counts.

    Returns:
        Shape (24, 24, 24); means of boxes of the image without constant outer planes, percentiles 1
        to 99 mapped to 0 to 255. Empty, shape (0, 0, 0), for fewer than 4,096 voxels.
    """
    volume = _as_volume(array)
    if volume.size < LEAST_VOXELS:
        return np.empty((0, 0, 0), np.uint8)
    small = _shrunk(_without_border(volume), (EDGE, EDGE, EDGE))
    least, greatest = np.percentile(small, [1, 99])
    scaled = np.clip((small - least) / max(greatest - least, 1e-12), 0, 1)
    result: NDArray[np.uint8] = np.round(255 * scaled).astype(np.uint8)
    return result


def find_alike(thumbnails: Sequence[NDArray[np.uint8]], groups: Sequence[str]) -> list[Alike]:
    """Find images of different groups that look like one image or one patient.

    Args:
        thumbnails: one for each image; empty ones are like nothing.
        groups: of each image; pairs within a group are not looked at.

    Returns:
        Pairs with a likeness of at least `SAME_PATIENT`, the most alike first.
    """
    found = []
    for first, second, orientation in _candidates(thumbnails, groups):
        turned = _turn(thumbnails[first][None], orientation)[0]
        likeness = _likeness(turned.astype(np.float32), thumbnails[second].astype(np.float32))
        if likeness >= SAME_PATIENT:
            found.append(Alike(first, second, likeness))
    return sorted(found, key=lambda pair: -pair.likeness)


def detail_agreement(first: NDArray[Any], second: NDArray[Any]) -> float:
    """How far two images agree in their details, noise included, in nearly all regions.

    Args:
        first: as for `thumbnail`.
        second: the image that is laid over it.

    Returns:
        The correlation that 95 of 100 regions exceed, of those with details in both images; at least
        `SAME_DETAILS` for one image. -1 for images that are not alike at a glance.
    """
    small = [thumbnail(first), thumbnail(second)]
    candidates = list(_candidates(small, ("first", "second")))
    if not candidates:
        return -1.0
    orientation = candidates[0][2]
    fixed, moving = _turn(small[0][None], orientation)[0], small[1]
    scale, shift = _laid_over(fixed.astype(np.float32), moving.astype(np.float32), _BLURS)
    one = _turn(_without_border(_as_volume(first))[None], orientation)[0]
    other = _without_border(_as_volume(second))
    edges = np.minimum(one.shape, other.shape).clip(_LEAST_EDGE, _DETAIL_EDGE)
    one, other = (_shrunk(volume, edges.tolist()) for volume in (one, other))
    scale, shift = _laid_over(one, other, _DETAIL_BLURS, scale, shift * edges / EDGE)
    moved, inside = _moved(other, scale, shift)
    return _least_correlation(_between(one, _DETAIL_BAND), _between(moved, _DETAIL_BAND), inside)


def _least_correlation(first: Floats, second: Floats, inside: NDArray[np.bool_]) -> float:
    """The 5th percentile of correlations around each cell, where both have details."""
    one, other = first.astype(np.float64), second.astype(np.float64)

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = gaussian_filter(values, _REGION)
        return mean

    means = around(one), around(other)
    variances = around(one * one) - means[0] ** 2, around(other * other) - means[1] ** 2
    # What is constant, such as the outside of a circular field of view, agrees by chance alone.
    inside = inside & (variances[0] > 1e-6 * one.var()) & (variances[1] > 1e-6 * other.var())
    if not inside.any():
        return -1.0
    common = around(one * other) - means[0] * means[1]
    correlations = common[inside] / np.sqrt(variances[0][inside] * variances[1][inside])
    return float(np.percentile(correlations, 5))


def _as_volume(array: NDArray[Any]) -> NDArray[Any]:
    """Three axes, of several channels the first."""
    return array[..., 0] if array.ndim > 3 else array.reshape((*array.shape, 1, 1)[:3])


def _shrunk(volume: NDArray[Any], edges: Sequence[int]) -> Floats:
    """Means over as many equal boxes along each axis."""
    small: Floats = np.nan_to_num(volume.astype(np.float32, copy=False))
    for axis, parts in enumerate(edges):
        small = _along(small, _box_weights(small.shape[axis], parts), axis)
    return small


def _without_border(volume: NDArray[Any]) -> NDArray[Any]:
    """Cut constant outer planes off, such as padding with zeros."""
    inner = volume != volume.flat[0]
    if not inner.any():
        return volume
    box = []
    for axis in range(3):
        planes = np.flatnonzero(inner.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(planes[0], planes[-1] + 1))
    return volume[tuple(box)]


def _box_weights(size: int, parts: int) -> Floats:
    """Matrix (parts, size) that averages over equal parts of an axis."""
    edges = np.linspace(0, size, parts + 1)
    voxel = np.arange(size)
    share = np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel)
    share = share.clip(min=0)
    weights: Floats = (share / share.sum(1, keepdims=True)).astype(np.float32)
    return weights


def _along(volume: Floats, matrix: Floats, axis: int) -> Floats:
    result: Floats = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
    return result


def _candidates(
    thumbnails: Sequence[NDArray[np.uint8]], groups: Sequence[str]
) -> Iterator[tuple[int, int, Any]]:
    """Pairs that are alike at a glance, each with the orientation in which they are."""
    known = [index for index, image in enumerate(thumbnails) if image.size]
    if len({groups[index] for index in known}) < 2:
        return
    glances = np.stack([_glance(thumbnails[index]) for index in known])
    flat = _standardized(glances)
    best = np.full((len(known), len(known)), -1, np.float32)
    which = np.zeros(best.shape, np.int8)
    for number, orientation in enumerate(_ORIENTATIONS):
        found = _standardized(_turn(glances, orientation)) @ flat.T
        which[found > best] = number
        np.maximum(best, found, out=best)
    owner = np.array([groups[index] for index in known])
    best[owner[:, None] == owner[None]] = -1
    partners = np.argsort(-best, axis=1)[:, :_PARTNERS]
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(partners.tolist()) for j in row}
    for i, j in sorted(pairs):
        if best[i, j] >= _GLANCE:
            yield known[i], known[j], _ORIENTATIONS[which[i, j]]


def _glance(image: NDArray[np.uint8]) -> Floats:
    half = EDGE // 2
    small: Floats = image.reshape(half, 2, half, 2, half, 2).mean((1, 3, 5), dtype=np.float32)
    return _between(small, _COARSE_BAND)


def _between(volume: Floats, sigmas: tuple[float, float]) -> Floats:
    fine, coarse = (_blurred(volume, sigma) for sigma in sigmas)
    return fine - coarse


def _blurred(volume: Floats, sigma: float) -> Floats:
    result: Floats = gaussian_filter(volume, sigma, mode="nearest")
    return result


def _standardized(volumes: Floats) -> Floats:
    """Rows of mean 0 and length 1, so that a product of two rows is their correlation."""
    rows = volumes.reshape(len(volumes), -1)
    rows = rows - rows.mean(1, keepdims=True)
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return scaled


def _turn(volumes: NDArray[Any], orientation: Any) -> NDArray[Any]:  # noqa: ANN401 (axes, signs)
    axes, signs = orientation
    turned = volumes.transpose(0, *(axis + 1 for axis in axes))
    return turned[:, :: signs[0], :: signs[1], :: signs[2]]


def _likeness(fixed: Floats, moving: Floats) -> float:
    """Correlation of two thumbnails, in floating point, where they overlap once aligned."""
    scale, shift = _laid_over(fixed, moving, _BLURS)
    moved, inside = _moved(moving, scale, shift)
    first, second = (_between(volume, _FINE_BAND)[inside] for volume in (fixed, moved))
    first, second = first - first.mean(), second - second.mean()
    lengths = float(first @ first) * float(second @ second)
    return float(first @ second) / lengths**0.5 if lengths > 0 else 0.0


def _laid_over(
    fixed: Floats,
    moving: Floats,
    blurs: Sequence[float],
    scale: NDArray[np.float64] | None = None,
    shift: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift of `moving`, found from coarse to fine from where they are, or from none."""
    scale = np.ones(3) if scale is None else scale
    shift = np.zeros(3) if shift is None else shift
    for sigma in blurs:
        scale, shift = _aligned(_blurred(fixed, sigma), _blurred(moving, sigma), scale, shift)
    return scale, shift


def _aligned(
    fixed: Floats, moving: Floats, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Improve scale and shift (in cells) of `moving`, also free in gain and offset."""
    centers = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in fixed.shape)]
    most = _MOST_SHIFT * np.array(fixed.shape)
    for _ in range(_ITERATIONS):
        moved, inside = _moved(moving, scale, shift)
        slopes = [slope / part for slope, part in zip(np.gradient(moved), scale, strict=True)]
        columns = [slope * center for slope, center in zip(slopes, centers, strict=True)]
        columns += [*slopes, moved, np.ones_like(moved)]
        jacobian = np.stack([column[inside] for column in columns], axis=1).astype(np.float64)
        normal = jacobian.T @ jacobian
        # A direction in which nothing changes, such as along a single slice, stays where it is.
        normal[np.diag_indices(6)] += 1e-3 * np.trace(normal[:6, :6]) / 6
        step = np.linalg.lstsq(normal, jacobian.T @ fixed[inside], rcond=None)[0]
        change = step[:6] / max(step[6], 0.2)
        scale = np.clip(scale + change[:3].clip(-0.1, 0.1), _LEAST_SCALE, _MOST_SCALE)
        shift = np.clip(shift + change[3:].clip(-2, 2), -most, most)
        if np.abs(change[:3]).max() < 0.003 and np.abs(change[3:]).max() < 0.03:
            break
    return scale, shift


def _moved(
    volume: Floats, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Floats, NDArray[np.bool_]]:
    """`volume` at scale * cell + shift, cells counted from the center; and where that is inside."""
    inside = np.ones(volume.shape, bool)
    for axis, edge in enumerate(volume.shape):
        cells = np.arange(edge)
        place = scale[axis] * (cells - (edge - 1) / 2) + shift[axis] + (edge - 1) / 2
        here = (place >= -0.5) & (place <= edge - 0.5)
        inside &= here.reshape([-1 if other == axis else 1 for other in range(3)])
        place = place.clip(0, edge - 1)
        left = np.minimum(place.astype(int), edge - 2)
        matrix = np.zeros((edge, edge), np.float32)
        matrix[cells, left], matrix[cells, left + 1] = 1 - (place - left), place - left
        volume = _along(volume, matrix, axis)
    return volume, inside
