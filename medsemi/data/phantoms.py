"""Synthetic organs for the demo and the tests, hard enough that a few labels are too few.

A case is an organ (a smoothly deformed ellipsoid) beside a neighbor of the same brightness (a
deformed rod), in a textured body with a bias field and noise. Pose, size, contrast and bias vary
from case to case. Brightness alone cannot tell the organ from its neighbor; shape can.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsemi.data.fields import Array, smooth_field, voxel_centers
from medsemi.data.manifest import Manifest
from medsemi.data.phantom_set import write_phantom_set
from medsemi.errors import DataError

# Semi-axes as parts of the smallest edge of the volume.
_ORGAN_AXES = np.array([0.34, 0.28, 0.24])
_NEIGHBOR_AXES = np.array([0.40, 0.15, 0.15])
_DEFORMATION = 0.06
# Width of the wall between organ and neighbor, and of the blur at surfaces, in voxels.
_WALL = 1.0
_BLUR = 0.5


@dataclass(frozen=True)
class Phantom:
    """One synthetic case.

    Attributes:
        image: (x, y, z) float32, mean 0 and standard deviation 1.
        label: (x, y, z) uint8, 1 in the organ.
        neighbor: (x, y, z) bool, the structure that looks like the organ and is not.
        affine: (4, 4), voxel to millimetres.
        noise: standard deviation of the noise in units of the image.
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    neighbor: NDArray[np.bool_]
    affine: Array
    noise: float


def make_phantom(
    index: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (48, 48, 32),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    noise: float = 0.25,
    bias: float = 0.3,
) -> Phantom:
    """Make one case, a pure function of its arguments.

    Args:
        index: number of the case.
        seed: of the whole set.
        shape: voxels along x, y and z, at least 16 each.
        spacing: voxel edges in mm.
        noise: standard deviation of the noise, where organ and body differ by about 1.
        bias: amplitude of the bias field (0.3: between 0.7 and 1.3 times).

    Returns:
        The case.

    Raises:
        DataError: the volume is too small for an organ and its neighbor.
    """
    if min(shape) < 16:
        raise DataError(f"shape {shape}: a phantom needs at least 16 voxels along each axis.")
    generator = np.random.default_rng([seed, index])
    grid = voxel_centers(shape, spacing)
    organ, neighbor = _organ_and_neighbor(grid, spacing, generator)
    if not ((organ < 0).any() and (neighbor < 0).any()):
        raise DataError(
            f"shape {shape}, spacing {spacing}: too coarse for an organ and its neighbor; give more"
            " voxels or smaller ones."
        )
    surface = min(spacing)
    inside = _soft(organ, surface)
    beside = _soft(neighbor, surface)
    texture = smooth_field(shape, 6, generator)
    contrast = generator.uniform(0.8, 1.2)
    clean = 1.0 + 0.25 * texture + (contrast - 0.25 * texture) * np.maximum(inside, beside)
    clean *= _soft(_body(grid, spacing, generator), surface)
    shaded = clean * (1 + bias * smooth_field(shape, 2, generator))
    shaded = _equally_bright(shaded, organ < 0, neighbor < 0, grid)
    noisy = shaded + generator.normal(scale=noise, size=shape)
    deviation = float(noisy.std())
    return Phantom(
        image=((noisy - noisy.mean()) / deviation).astype(np.float32),
        label=(organ < 0).astype(np.uint8),
        neighbor=neighbor < 0,
        affine=np.diag([*spacing, 1.0]),
        noise=noise / deviation,
    )


def make_phantoms(
    folder: str | Path,
    count: int = 40,
    shape: tuple[int, int, int] = (48, 48, 32),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    seed: int = 0,
    labeled: int = 4,
    validation: int = 4,
    test: int = 8,
    noise: float = 0.25,
    bias: float = 0.3,
) -> Manifest:
    """Write a data set of phantoms: images/, labels/ and manifest.json.

    Case i is the same for every count and every split; the first are labeled, then come the
    unlabeled, the validation and the test cases.

    Args:
        folder: where to write.
        count: number of cases in all.
        shape: voxels along x, y and z.
        spacing: voxel edges in mm.
        seed: of the whole set.
        labeled: number of labeled cases.
        validation: number of validation cases.
        test: number of test cases; what is left of `count` is unlabeled.
        noise: see `make_phantom`.
        bias: see `make_phantom`.

    Returns:
        The manifest that was written.

    Raises:
        DataError: the roles ask for more cases than there are.
    """
    prose = {
        "name": f"phantoms_{labeled}_labeled",
        "description": f"{count} synthetic organs beside a neighbor of the same brightness.",
        "source": f"medsemi.data.phantoms, seed {seed}, noise {noise}, bias {bias}.",
        "classes": {"0": "background", "1": "organ"},
    }

    def make(index: int) -> Phantom:
        return make_phantom(index, seed, shape, spacing, noise, bias)

    return write_phantom_set(folder, make, "phantom", count, (labeled, validation, test), prose)


def _organ_and_neighbor(
    grid: Array, spacing: tuple[float, ...], generator: np.random.Generator
) -> tuple[Array, Array]:
    """Signed distances in mm (about), negative inside; a wall lies between the two."""
    extent = np.asarray(grid.shape[1:]) * spacing
    unit = float(extent.min())
    away = _direction(generator)
    center = generator.uniform(-0.06, 0.06, 3) * extent - 0.1 * unit * away
    axes = _ORGAN_AXES * unit * generator.uniform(0.8, 1.15) * generator.uniform(0.9, 1.1, 3)
    bent = grid + unit * _DEFORMATION * _smooth_vectors(grid.shape[1:], generator)
    organ = _ellipsoid(bent, center, axes, _rotation(generator))
    across = _rotation_with_axis(np.cross(away, _direction(generator)))
    rod = _NEIGHBOR_AXES * unit * generator.uniform(0.85, 1.15, 3)
    gap = axes.mean() + rod[1:].mean()
    neighbor = _ellipsoid(bent, center + gap * away, rod, across)
    return organ, np.maximum(neighbor, _WALL * max(spacing) - organ)


def _direction(generator: np.random.Generator) -> Array:
    vector = generator.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))


def _rotation(generator: np.random.Generator) -> Array:
    return _rotation_with_axis(_direction(generator))


def _rotation_with_axis(vector: Array) -> Array:
    """An orthonormal basis (3, 3) whose first column is along the vector."""
    helper = np.eye(3)[np.argmin(np.abs(vector))]
    basis, _ = np.linalg.qr(np.stack([vector, helper, np.cross(vector, helper)], axis=1))
    return np.asarray(basis)


def _ellipsoid(points: Array, center: Array, axes: Array, rotation: Array) -> Array:
    offset = points - center.reshape(3, 1, 1, 1)
    scaled = np.einsum("ji,jxyz->ixyz", rotation / axes, offset)
    return np.asarray((np.sqrt((scaled**2).sum(axis=0)) - 1) * axes.min())


def _soft(distance: Array, voxel: float) -> Array:
    """1 inside, 0 outside, blurred over about a voxel as partial volume does."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / (_BLUR * voxel), -30, 30))))


def _body(grid: Array, spacing: tuple[float, ...], generator: np.random.Generator) -> Array:
    half = np.asarray(grid.shape[1:]) * spacing / 2
    axes = half * generator.uniform(1.1, 1.3, 3)
    return _ellipsoid(grid, np.zeros(3), axes, np.eye(3))


def _smooth_vectors(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    return np.stack([smooth_field(shape, 2, generator) for _ in range(3)])


def _equally_bright(
    image: Array, organ: NDArray[np.bool_], neighbor: NDArray[np.bool_], grid: Array
) -> Array:
    """Tilt the brightness along the line between the two structures until their means agree.

    The bias field alone would make one of them brighter, and a network could learn that.
    """
    line = grid[:, neighbor].mean(axis=1) - grid[:, organ].mean(axis=1)
    along = np.tensordot(line, grid, axes=1)
    gain = (image[neighbor].mean() - image[organ].mean()) / (
        (image * along)[neighbor].mean() - (image * along)[organ].mean()
    )
    return np.asarray(image * (1 - gain * along))
