"""A molar where it stands: neighbors, bone, ligament, gum, and the sinus or the nerve canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medsemi.data.fields import smooth_field
from medsemi.data.molar_anatomy import draw_molar, draw_premolar
from medsemi.data.tooth_shapes import Array, Tooth, rounded_meet

_AIR, _SOFT, _NERVE = -1000.0, 60.0, 80.0


@dataclass(frozen=True)
class Tissue:
    """Grey values before the scanner changes them.

    Source: Reshetnikov 2024, JMIRx Med 5:e56759 (enamel, dentine, pulp); bone: engineering values.
    """

    enamel: float
    dentine: float
    pulp: float
    cortical: float
    cancellous: float


@dataclass(frozen=True)
class Scene:
    """What is in the volume, in the frame of the first molar.

    Attributes:
        molar: the tooth whose canals are searched for.
        neighbors: other teeth and their places (3,).
        is_upper: of the maxilla.
        tissue: grey values.
        crest: height of the edge of the bone.
        ridge: half of the width of the bone.
        plate: thickness of the cortical bone at its sides.
        ligament: width of the periodontal ligament.
        depth: height below which the sinus or the nerve canal lies.
    """

    molar: Tooth
    neighbors: tuple[tuple[Tooth, Array], ...]
    is_upper: bool
    tissue: Tissue
    crest: float
    ridge: float
    plate: float
    ligament: float
    depth: float


def draw_scene(generator: np.random.Generator, neighbors: int) -> Scene:
    """Draw a molar of either jaw and what is around it.

    Args:
        generator: where all numbers come from.
        neighbors: 0, 1 (a premolar in front) or 2 (and a second molar behind).
    """
    is_upper = bool(generator.random() < 0.5)
    molar = draw_molar(generator, is_upper=is_upper)
    others = (draw_premolar(generator), draw_molar(generator, is_upper=is_upper))
    gaps = generator.uniform(0.0, 0.3, 2)
    half = [float(tooth.crown.profile.half_axes[:, 0].max()) for tooth in (molar, *others)]
    places = (
        np.array([half[0] + half[1] + gaps[0], generator.normal(0, 0.5), generator.normal(0, 0.4)]),
        np.array(
            [-half[0] - half[2] - gaps[1], generator.normal(0, 0.5), generator.normal(0, 0.4)]
        ),
    )
    apex = min(float(root.heights[0]) for root in molar.roots)
    return Scene(
        molar=molar,
        neighbors=tuple(zip(others, places, strict=True))[:neighbors],
        is_upper=is_upper,
        tissue=Tissue(
            enamel=float(generator.uniform(2100, 2900)),
            dentine=float(generator.uniform(1350, 1850)),
            pulp=float(generator.uniform(190, 420)),
            cortical=float(generator.uniform(900, 1500)),
            cancellous=float(generator.uniform(250, 550)),
        ),
        crest=float(generator.normal(-1.7, 0.4)),
        ridge=float(generator.uniform(6.2, 7.8)),
        plate=float(generator.uniform(0.8, 2.0)),
        ligament=float(generator.uniform(0.15, 0.30)),
        depth=apex - float(generator.uniform(1.0, 3.0)),
    )


def paint_scene(
    scene: Scene,
    points: Array,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Grey values of everything but the pulp, averaged over each voxel.

    Args:
        scene: what is there.
        points: (3, n) voxel centers in the frame of the molar.
        shape: of the volume, n voxels in all.
        spacing: voxel edges in mm.
        generator: for the texture of bone, gum and dentine.

    Returns:
        (n,) values, to which the pulp is added.
    """
    voxel = float(np.mean(spacing))
    image = _surroundings(scene, points, shape, spacing, generator)
    teeth = [(scene.molar, np.zeros(3)), *scene.neighbors]
    places = [points - place[:, None] for _, place in teeth]
    distances = [tooth.distance(at) for (tooth, _), at in zip(teeth, places, strict=True)]
    nearest = np.min(distances, axis=0)
    in_bone = share(_bone(scene, points), voxel)
    lamina = share(nearest - scene.ligament - 0.35, voxel) * in_bone
    image = _mix(image, scene.tissue.cortical, lamina)
    image = _mix(image, _SOFT, share(nearest - scene.ligament, voxel) * in_bone)
    grain = 1 + 0.03 * smooth_field(shape, 12, generator).ravel()
    image = _mix(image, scene.tissue.dentine * grain, share(nearest, voxel))
    for (tooth, _), at in zip(teeth, places, strict=True):
        shell = share(tooth.crown.distance(at), voxel) - share(tooth.crown.core_distance(at), voxel)
        image = _mix(image, scene.tissue.enamel, np.clip(shell, 0, 1))
    return image.astype(np.float32)


def share(distance: Array, voxel: float) -> Array:
    """Part of a voxel that is inside, 0..1, from the distance of its center (negative inside)."""
    return np.clip(0.5 - distance / voxel, 0, 1)


def _mix(image: Array, value: float | Array, part: Array) -> Array:
    return image + (value - image) * part


def _bone(scene: Scene, points: Array) -> Array:
    """Distance from the surface of the bone; the ridge grows wider with depth."""
    x, y, z = points
    crest = scene.crest + 0.3 * np.cos(x / 1.6)
    width = scene.ridge + 0.12 * np.maximum(scene.crest - z, 0)
    return rounded_meet(z - crest, np.abs(y) - width, 2.0)


def _surroundings(
    scene: Scene,
    points: Array,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    generator: np.random.Generator,
) -> Array:
    voxel = float(np.mean(spacing))
    z = points[2]
    mouth = share(1.2 - z - 2.5 * smooth_field(shape, 3, generator).ravel(), voxel)
    image = _mix(np.full(z.shape, _SOFT), _AIR, mouth)
    bone = _bone(scene, points)
    trabeculae = gaussian_filter(generator.normal(size=shape), [0.3 / edge for edge in spacing])
    marrow = scene.tissue.cancellous + 230 * (trabeculae / trabeculae.std()).ravel()
    image = _mix(image, np.clip(marrow, -50, 1100), share(bone, voxel))
    plate = share(bone, voxel) - share(bone + scene.plate, voxel)
    image = _mix(image, scene.tissue.cortical, plate)
    cavity, rim, content = _cavity(scene, points)
    image = _mix(image, scene.tissue.cortical, share(cavity - rim, voxel))
    return _mix(image, content, share(cavity, voxel))


def _cavity(scene: Scene, points: Array) -> tuple[Array, float, float]:
    """Distance from the sinus or the nerve canal, its cortical rim, and the value inside."""
    x, y, z = points
    if scene.is_upper:
        return z - scene.depth + 0.06 * (y + 1) ** 2 - 0.5 * np.sin(x / 3), 0.6, _AIR
    return np.hypot(y - 1.0, z - scene.depth + 1.4) - 1.4, 0.4, _NERVE
