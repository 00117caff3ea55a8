"""Cone-beam scans of first molars, made from morphometry: thin canals at the limit of resolution.

A case is a first molar of either jaw in its bone, beside other teeth, in any pose, as a scanner
without calibrated grey values shows it. The task is the pulp space of the first molar: chamber and
canals, one class, as the public labels of teeth have it. Neighbors have canals, too, and they are
background: where the tooth stands tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsemi.data.cone_beam import draw_cone_beam, scan
from medsemi.data.fields import Array, voxel_centers
from medsemi.data.jaw_scene import Scene, draw_scene, paint_scene
from medsemi.data.manifest import Manifest
from medsemi.data.phantom_set import write_phantom_set
from medsemi.data.tooth_shapes import Tooth
from medsemi.errors import DataError

_SMALLEST_MM = (14.0, 14.0, 17.0)
# The middle of the pulp space, in the frame of the tooth.
_MIDDLE = np.array([0.0, 0.0, -5.8])
_SUBVOXELS = 4


@dataclass(frozen=True)
class RootCanalPhantom:
    """One synthetic scan.

    Attributes:
        image: (x, y, z) int16, grey values in -1000..3095, of an unknown gain and offset.
        label: (x, y, z) uint8, 1 in the pulp space of the first molar: where at least half of a
            voxel is pulp, and along the center lines, so that a canal is whole as in the hand
            of an expert. Sheets between canals, 0.1 to 0.2 mm thick, are not labeled, and seen up
            to about half a millimetre from a canal: the middle of a wider one is missing.
        tooth: (x, y, z) bool, the first molar.
        affine: (4, 4), voxel to millimetres.
        canals: center line of each canal from the orifice to the foramen, (n, 3) in voxels, or to
            the canal that it runs into, as an MB2 may; MB1, MB2, DB and P, or MB, ML and D (or DB
            and DL).
        noise: standard deviation of the noise in grey values, before the gain.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    tooth: NDArray[np.bool_]
    affine: Array
    canals: Mapping[str, Array]
    noise: float


def make_root_canal_phantom(
    index: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 96, 96),
    spacing: tuple[float, float, float] = (0.25, 0.25, 0.25),
    noise: tuple[float, float] = (60.0, 150.0),
    point_spread: tuple[float, float] = (0.15, 0.21),
    neighbors: int = 2,
    tilt: float = 25.0,
) -> RootCanalPhantom:
    """Make one case, a pure function of its arguments.

    The anatomy depends on index and seed alone; it is the same for every shape and spacing.

    Args:
        index: number of the case.
        seed: of the whole set.
        shape: voxels along x, y and z.
        spacing: voxel edges in mm; dental scans have 0.075 to 0.4.
        noise: bounds of the standard deviation of the noise, in grey values.
        point_spread: bounds of the standard deviation of the blur, in mm (0.15 to 0.21 measured
            on five scanners).
        neighbors: teeth beside the molar, 0 to 2.
        tilt: largest angle between the tooth and the z axis, in degrees; the turn about z is
            arbitrary, and left teeth are mirrored right ones.

    Returns:
        The case.

    Raises:
        DataError: the volume is too small for a molar, or `neighbors` is not 0, 1 or 2.
    """
    extent = np.multiply(shape, spacing)
    if (extent < _SMALLEST_MM).any() or neighbors not in (0, 1, 2):
        raise DataError(
            f"shape {shape} with spacing {spacing} and {neighbors} neighbors: a molar needs"
            f" {_SMALLEST_MM} mm and has 0, 1 or 2 neighbors."
        )
    generator = np.random.default_rng([seed, index])
    scene = draw_scene(generator, neighbors)
    beam = draw_cone_beam(generator, noise, point_spread, -1.0 if scene.is_upper else 1.0)
    pose = _draw_pose(generator, scene.is_upper, tilt)
    middle = _MIDDLE + generator.uniform(-1, 1, 3) * 0.6
    centers = voxel_centers(shape, spacing).astype(np.float32)
    points = pose.T @ centers.reshape(3, -1) + middle[:, None]
    painted = paint_scene(scene, points, shape, spacing, generator)
    corner = pose.T @ (0.5 * np.diag(spacing))
    for tooth, place in scene.neighbors:
        _fill(painted, tooth, points - place[:, None], corner, scene)
    volume = _fill(painted, scene.molar, points, corner, scene)
    lines = {
        name: ((canal.tube.line() - middle) @ pose.T / spacing + (np.array(shape) - 1) / 2)
        for name, canal in scene.molar.canals.items()
    }
    return RootCanalPhantom(
        image=scan(painted.reshape(shape), centers, spacing, beam).astype(np.int16),
        label=_label(volume.reshape(shape), lines),
        tooth=(scene.molar.distance(points) <= 0).reshape(shape),
        affine=_affine(shape, spacing),
        canals=lines,
        noise=beam.noise,
    )


def make_root_canal_phantoms(
    folder: str | Path,
    count: int = 40,
    shape: tuple[int, int, int] = (96, 96, 96),
    spacing: tuple[float, float, float] = (0.25, 0.25, 0.25),
    seed: int = 0,
    labeled: int = 4,
    validation: int = 4,
    test: int = 8,
    noise: tuple[float, float] = (60.0, 150.0),
    point_spread: tuple[float, float] = (0.15, 0.21),
    neighbors: int = 2,
    tilt: float = 25.0,
) -> Manifest:
    """Write a data set of first molars: images/, labels/ and manifest.json.

    Args:
        folder: where to write.
        count: number of cases in all.
        shape: see `make_root_canal_phantom`, as all that is not explained here.
        spacing: voxel edges in mm.
        seed: of the whole set.
        labeled: number of labeled cases, the first ones.
        validation: number of validation cases.
        test: number of test cases, the last ones; what is left of `count` is unlabeled.
        noise: bounds of its standard deviation.
        point_spread: bounds of its standard deviation.
        neighbors: teeth beside the molar.
        tilt: largest one.

    Returns:
        The manifest that was written.

    Raises:
        DataError: as `make_root_canal_phantom`, or the roles ask for more cases than there are.
    """
    prose = {
        "name": f"root_canal_phantoms_{labeled}_labeled",
        "description": f"{count} synthetic cone-beam scans of first molars.",
        "source": f"medsemi.data.root_canal_phantom, seed {seed}, noise {noise},"
        f" point spread {point_spread} mm, {neighbors} neighbors, tilt {tilt}.",
        "classes": {"0": "background", "1": "root canal"},
    }

    def make(index: int) -> RootCanalPhantom:
        return make_root_canal_phantom(
            index, seed, shape, spacing, noise, point_spread, neighbors, tilt
        )

    return write_phantom_set(folder, make, "molar", count, (labeled, validation, test), prose)


def _draw_pose(generator: np.random.Generator, is_upper: bool, tilt: float) -> Array:
    """Directions of the tooth in the volume, as columns; z of the volume points to the head."""
    turn, lean = generator.uniform(0, 2 * np.pi), np.radians(generator.uniform(0, tilt))
    to = generator.uniform(0, 2 * np.pi)
    mirrored, chewing = generator.choice((-1.0, 1.0)), -1.0 if is_upper else 1.0
    leaning = _about_z(to) @ _about_x(lean) @ _about_z(-to)
    return np.asarray(leaning @ _about_z(turn) @ np.diag([mirrored, 1.0, chewing]))


def _about_z(angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _about_x(angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _fill(
    painted: NDArray[np.float32], tooth: Tooth, points: Array, corner: Array, scene: Scene
) -> Array:
    """Paint the pulp of a tooth, and return what part of each voxel is chamber or canal.

    Voxels near the pulp are cut into `_SUBVOXELS` pieces per axis, each of which is in or out.

    Args:
        painted: (n,) grey values, changed in place.
        tooth: whose pulp is painted.
        points: (3, n) voxel centers in its frame.
        corner: (3, 3) half the edges of a voxel in its frame, as columns.
        scene: gives the value of pulp.
    """
    reach = float(np.linalg.norm(corner.sum(axis=1))) + 0.3
    near = np.flatnonzero(tooth.distance(points) < reach)
    near = near[tooth.pulp_distance(points[:, near]) < reach]
    steps = (np.arange(_SUBVOXELS) + 0.5) / _SUBVOXELS * 2 - 1
    offsets = corner @ np.stack(np.meshgrid(steps, steps, steps)).reshape(3, -1)
    pieces = points[:, near, None] + offsets[:, None, :]
    flat = pieces.reshape(3, -1)
    filling = tooth.pulp_filling(flat)
    volume = np.zeros(points.shape[1])
    volume[near] = (filling > 0).reshape(pieces.shape[1:]).mean(axis=1)
    seen = np.maximum(filling, tooth.in_isthmus(flat)).reshape(pieces.shape[1:]).mean(axis=1)
    painted[near] += (scene.tissue.pulp - painted[near]) * seen
    return volume


def _label(volume: Array, lines: Mapping[str, Array]) -> NDArray[np.uint8]:
    label = (volume >= 0.5).astype(np.uint8)
    for line in lines.values():
        voxels = np.round(line).astype(int)
        inside = ((voxels >= 0) & (voxels < volume.shape)).all(axis=1)
        label[tuple(voxels[inside].T)] = 1
    return label


def _affine(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Array:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.multiply(spacing, np.array(shape) - 1) / 2
    return affine
