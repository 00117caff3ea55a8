"""What a dental cone-beam scanner does to the truth: blur, shading, rings, streaks, noise.

Grey values of such scanners are not calibrated, so every scan has its own gain and offset.
Sources: Schulze and Doering 2019, DMFR (point spread of five scanners); Azhari, MKGI (one map from
grey values to HU); sizes of the artifacts are engineering values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

Array = NDArray[np.float64]
Image = NDArray[np.float32]

LOWEST, HIGHEST = -1000, 3095
_METAL = 3095.0


@dataclass(frozen=True)
class Streak:
    """A fan of bright and dark rays from a metal object.

    Attributes:
        source: place of the object, in mm.
        radius: of the object, in mm.
        amplitudes: of the rays, in grey values, by angle.
        reach: how far it goes above and below the object, in mm.
    """

    source: tuple[float, float, float]
    radius: float
    amplitudes: Array
    reach: float


@dataclass(frozen=True)
class ConeBeam:
    """The properties of one scan.

    Attributes:
        point_spread: standard deviation of the blur in mm.
        cupping: loss of grey value at the axis of rotation, as a part.
        axis: x and y of the axis of rotation, in mm.
        rings: grey value of each ring around it, half a voxel wide.
        streaks: from metal.
        motion: shift of the patient in mm; zeros for none.
        noise: standard deviation in grey values.
        correlation: standard deviation of the filter of the noise, in voxels.
        gain: of all grey values.
        offset: added to them.
        seed: of the noise.
    """

    point_spread: float
    cupping: float
    axis: tuple[float, float]
    rings: Array
    streaks: tuple[Streak, ...]
    motion: tuple[float, float, float]
    noise: float
    correlation: float
    gain: float
    offset: float
    seed: int


def draw_cone_beam(
    generator: np.random.Generator,
    noise: tuple[float, float] = (60.0, 150.0),
    point_spread: tuple[float, float] = (0.15, 0.21),
    crowns: float = 1.0,
) -> ConeBeam:
    """Draw the properties of a scan.

    Args:
        generator: where all numbers come from.
        noise: bounds of the standard deviation of the noise, in grey values.
        point_spread: bounds of the standard deviation of the blur, in mm.
        crowns: 1 if the crowns, and the metal in them, are above the roots, -1 if below.

    Returns:
        The properties: cupping 5 to 15 %, rings of 10 to 30 grey values, 0 to 2 streaks, motion
        of up to 0.2 mm in 20 % of scans, gain 0.7 to 1.3, offset up to 200.
    """
    rings = gaussian_filter(generator.normal(size=1024), 0.8)
    rings *= generator.uniform(10, 30) / rings.std()
    is_moved = generator.random() < 0.2
    motion = generator.uniform(-1, 1, 3) * 0.2 / np.sqrt(3) * is_moved
    return ConeBeam(
        point_spread=float(generator.uniform(*point_spread)),
        cupping=float(generator.uniform(0.05, 0.15)),
        axis=(float(generator.uniform(-30, 30)), float(generator.uniform(-30, 30))),
        rings=rings,
        streaks=tuple(_draw_streak(generator, crowns) for _ in range(generator.integers(3))),
        motion=(float(motion[0]), float(motion[1]), float(motion[2])),
        noise=float(generator.uniform(*noise)),
        correlation=float(generator.uniform(0.5, 0.8)),
        gain=float(generator.uniform(0.7, 1.3)),
        offset=float(generator.uniform(-200, 200)),
        seed=int(generator.integers(2**31)),
    )


def _draw_streak(generator: np.random.Generator, crowns: float) -> Streak:
    """Metal in a crown beside the tooth; its rays are band-limited in the angle."""
    angle, away = generator.uniform(0, 2 * np.pi), generator.uniform(11, 16)
    height = float(crowns * generator.uniform(6, 11))
    rays = gaussian_filter(generator.normal(size=720), 4, mode="wrap")
    rays *= generator.uniform(40, 120) / rays.std()
    source = (float(away * np.cos(angle)), float(away * np.sin(angle)), height)
    return Streak(source, float(generator.uniform(1.0, 2.0)), rays, float(generator.uniform(2, 5)))


def scan(truth: Image, centers: Image, spacing: tuple[float, ...], beam: ConeBeam) -> Image:
    """Grey values of a scan of the truth.

    Args:
        truth: (x, y, z) grey values averaged over each voxel.
        centers: (3, x, y, z) places of the voxels in mm.
        spacing: voxel edges in mm.
        beam: properties of the scan.

    Returns:
        (x, y, z), whole numbers in -1000..3095.
    """
    image = truth.copy()
    for streak in beam.streaks:
        offset = centers - np.array(streak.source, np.float32).reshape(3, 1, 1, 1)
        image[(offset**2).sum(axis=0) < streak.radius**2] = _METAL
    image = gaussian_filter(image, [beam.point_spread / edge for edge in spacing])
    if any(beam.motion):
        steps = [step / edge for step, edge in zip(beam.motion, spacing, strict=True)]
        image = (image + shift(image, steps, order=1, mode="nearest")) / 2
    image = _shaded(image, centers, beam, min(spacing))
    for streak in beam.streaks:
        image += _rays(streak, centers)
    image += _noise(image.shape, beam)
    return np.clip(np.round(image * beam.gain + beam.offset), LOWEST, HIGHEST).astype(np.float32)


def _shaded(image: Image, centers: Image, beam: ConeBeam, voxel: float) -> Image:
    radius = np.hypot(centers[0] - beam.axis[0], centers[1] - beam.axis[1])
    # The field of view of a dental scan has a radius of about 40 mm.
    cup = 1 - beam.cupping * (1 - np.minimum(radius / 40, 1) ** 2)
    place = np.minimum(radius / (voxel / 2), len(beam.rings) - 1).astype(np.int32)
    # Air stays air: what is lost is attenuation, which starts at -1000.
    return np.asarray((image - LOWEST) * cup + LOWEST + beam.rings.astype(np.float32)[place])


def _rays(streak: Streak, centers: Image) -> Image:
    x, y, z = (axis - np.float32(place) for axis, place in zip(centers, streak.source, strict=True))
    turn = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * len(streak.amplitudes)
    ray = streak.amplitudes.astype(np.float32)[turn.astype(np.int32) % len(streak.amplitudes)]
    fading = np.exp(-((z / streak.reach) ** 2) / 2 - np.hypot(x, y) / 15)
    return np.asarray(ray * fading)


def _noise(shape: tuple[int, ...], beam: ConeBeam) -> Image:
    white = np.random.default_rng(beam.seed).standard_normal(shape, dtype=np.float32)
    smooth = gaussian_filter(white, beam.correlation)
    return np.asarray(smooth * np.float32(beam.noise / smooth.std()))
