"""First molars and their neighbors, drawn from published morphometry (lengths in mm).

Sources, by the quantity they give:

* crowns: dental anatomy after Wheeler; Lee 2015, J Dent Sci (lower molars).
* pulp chamber: Deutsch and Musikant 2004, J Endod 30:388 (height, floor to furcation, cusp to
  ceiling).
* canals, their number and where they join: de Pablo 2010 (lower molars); Tonelli, Howait 2021
  (MB2: present in 68 %, joins MB1 in 58 % of those).
* canal widths at 1, 2 and 5 mm from the apex: Wu 2000, Oral Surg 89:739; at 1 to 4 mm of the lower
  mesial canals: Villas-Bôas 2011, J Endod.
* curvature (Schneider): lower MB 24.3, ML 22.4, distal 13.7 degrees; upper MB 22.8 ± 9.8.
* foramen: Chang 2022.

Widths of orifices, places of roots and the shape of cusps are engineering values. Simplified
against the sources: MB2 starts at the floor of the chamber and not deeper, only MB2 ever joins
another canal, and no tooth has a fifth canal or a C-shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from medsemi.data.tooth_shapes import Array, Canal, Chamber, Crown, Isthmus, Tooth, Tube

_STEP = 0.05
# Roots reach into the crown, so that there is no seam at the junction.
_OVERLAP = 0.8
JITTER = 0.2
MB2_SHARE, MB2_JOINS = 0.68, 0.58
# By third of the canal: share of the joining MB2, and bounds of the place as parts of the length.
_JOIN_SHARES, _JOIN_PLACES = (0.23, 0.27, 0.50), ((0.2, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 0.95))
_FOUR_LOWER_CANALS = 0.36
_ISTHMUS = {"upper": 0.26, "lower": 0.646}
_CALCIFIED_SHARE, _CALCIFIED_CONTRAST = 0.10, 0.3


@dataclass(frozen=True)
class _Root:
    """Plan of a root: where it starts, how it runs, and its half widths at neck and apex."""

    start: tuple[float, float]
    slope: tuple[float, float]
    bend: tuple[float, float]
    degrees: tuple[float, float]
    length: float
    neck: tuple[float, float]
    apex: tuple[float, float]


@dataclass(frozen=True)
class _Course:
    """Plan of a canal: its root, its orifice, and where it lies in the apex; widths from there."""

    root: str
    orifice: tuple[float, float]
    apical: tuple[float, float]
    from_apex: tuple[float, ...]
    mesiodistal: tuple[float, ...]
    buccolingual: tuple[float, ...]
    orifice_width: tuple[float, float]


_WU = (1.0, 2.0, 5.0)
_UPPER_ROOTS = {
    "MB": _Root((1.9, 2.1), (0.03, 0.06), (-1, 0), (22.8, 7.0), 12.0, (1.9, 2.9), (0.75, 1.0)),
    "DB": _Root((-1.8, 2.3), (-0.10, 0.06), (1, 0), (13.7, 5.0), 12.0, (1.6, 1.8), (0.65, 0.7)),
    "P": _Root((-0.2, -2.6), (0.0, -0.20), (0, 1), (18.0, 6.0), 13.0, (2.1, 1.8), (0.8, 0.7)),
}
_LOWER_ROOTS = {
    "M": _Root((2.6, 0.0), (0.10, 0.0), (-1, 0), (24.0, 5.0), 14.0, (1.8, 3.5), (0.75, 1.2)),
    "D": _Root((-2.5, 0.0), (-0.10, 0.0), (1, 0), (13.7, 5.0), 13.5, (1.8, 3.1), (0.8, 1.1)),
}
_MB1 = _Course(
    "MB", (2.0, 2.7), (0, 0.45), _WU, (0.13, 0.27, 0.32), (0.19, 0.37, 0.46), (0.70, 0.85)
)
_MB2 = _Course(
    "MB", (2.1, 1.2), (0, -0.45), _WU, (0.16, 0.16, 0.16), (0.19, 0.31, 0.38), (0.35, 0.45)
)
_DB = _Course("DB", (-1.7, 2.1), (0, 0), _WU, (0.17, 0.25, 0.31), (0.22, 0.33, 0.49), (0.65, 0.80))
_P = _Course("P", (-0.3, -2.6), (0, 0), _WU, (0.33, 0.40, 0.74), (0.29, 0.40, 0.55), (1.30, 1.00))
_VB = (1.0, 2.0, 3.0, 4.0)
_MB = _Course(
    "M", (2.4, 1.5), (0, 0.5), _VB, (0.22, 0.27, 0.30, 0.36), (0.37, 0.55, 0.54, 0.54), (0.7, 0.9)
)
_ML = _Course(
    "M", (2.4, -1.5), (0, -0.5), _VB, (0.23, 0.27, 0.30, 0.35), (0.35, 0.41, 0.49, 0.60), (0.7, 0.9)
)
_D = _Course("D", (-2.2, 0.0), (0, 0), _WU, (0.35, 0.34, 0.59), (0.46, 0.50, 1.07), (1.0, 1.5))
_DISTAL_PAIR = {
    "DB": _Course(
        "D", (-2.2, 1.1), (0, 0.4), _WU, (0.21, 0.26, 0.32), (0.30, 0.36, 0.50), (0.7, 0.8)
    ),
    "DL": _Course(
        "D", (-2.2, -1.1), (0, -0.4), _WU, (0.21, 0.26, 0.32), (0.30, 0.36, 0.50), (0.7, 0.8)
    ),
}
_PREMOLAR_ROOTS = {
    "B": _Root((0.0, 0.0), (0.0, 0.0), (-1, 0), (12.0, 4.0), 14.0, (2.4, 3.3), (0.8, 1.0)),
}
_PREMOLAR_CANAL = _Course(
    "B", (0.0, 0.0), (0, 0), _WU, (0.25, 0.30, 0.40), (0.35, 0.50, 0.80), (0.6, 1.6)
)


def draw_molar(generator: np.random.Generator, *, is_upper: bool) -> Tooth:
    """Draw a first molar.

    Args:
        generator: where all numbers come from.
        is_upper: a maxillary molar (canals MB1, DB, P and perhaps MB2) or a mandibular one (MB,
            ML and D, or DB and DL).

    Returns:
        The tooth.
    """
    plans = _UPPER_ROOTS if is_upper else _LOWER_ROOTS
    roots = {name: _root(plan, generator) for name, plan in plans.items()}
    ceiling = generator.normal(0.5, 0.3)
    height = np.clip(generator.normal(1.88 if is_upper else 1.57, 0.68), 1.3, 3.0)
    floor = float(ceiling - height)
    courses = _upper_courses(generator) if is_upper else _lower_courses(generator)
    canals = {name: _canal(plan, roots, floor, generator) for name, plan in courses.items()}
    if "MB2" in canals and generator.random() < MB2_JOINS:
        canals["MB2"] = _joined(canals["MB1"], canals["MB2"], generator)
    pair = ("MB1", "MB2") if is_upper else ("MB", "ML")
    share = _ISTHMUS["upper" if is_upper else "lower"]
    size = generator.normal((10.0, 11.0), 0.45) if is_upper else generator.normal((11.1, 10.5), 0.4)
    neck = size * ((0.80, 0.92) if is_upper else (0.84, 0.86))
    furcation = floor - float(np.clip(generator.normal(3.0, 0.5), 2.0, 4.0))
    return Tooth(
        crown=_crown(size, neck, 7.5 * float(generator.normal(1, 0.04)), 4),
        roots=(_trunk(neck, furcation), *roots.values()),
        chamber=_chamber(canals, floor, float(ceiling), size),
        canals=canals,
        isthmuses=_isthmuses(canals, pair, share, generator),
    )


def draw_premolar(generator: np.random.Generator) -> Tooth:
    """Draw a second premolar with one root and one flat canal, the mesial neighbor of a molar."""
    roots = {name: _root(plan, generator) for name, plan in _PREMOLAR_ROOTS.items()}
    ceiling = float(generator.normal(0.8, 0.3))
    floor = ceiling - float(generator.uniform(1.5, 2.5))
    canals = {"B": _canal(_PREMOLAR_CANAL, roots, floor, generator)}
    size = generator.normal((6.9, 9.0), 0.3)
    neck = size * (0.75, 0.85)
    return Tooth(
        crown=_crown(size, neck, 8.0 * float(generator.normal(1, 0.04)), 2),
        roots=tuple(roots.values()),
        chamber=_chamber(canals, floor, ceiling, size),
        canals=canals,
    )


def _upper_courses(generator: np.random.Generator) -> dict[str, _Course]:
    second = {"MB2": _MB2} if generator.random() < MB2_SHARE else {}
    return {"MB1": _MB1, **second, "DB": _DB, "P": _P}


def _lower_courses(generator: np.random.Generator) -> dict[str, _Course]:
    distal = _DISTAL_PAIR if generator.random() < _FOUR_LOWER_CANALS else {"D": _D}
    return {"MB": _MB, "ML": _ML, **distal}


def _root(plan: _Root, generator: np.random.Generator) -> Tube:
    """A center line whose slope grows with the square of the depth: it bends near the apex."""
    length = plan.length * float(generator.normal(1, 0.05))
    degrees = float(np.clip(generator.normal(*plan.degrees), 5, 35))
    heights = np.append(np.arange(-length, _OVERLAP, _STEP), _OVERLAP)
    depth = -heights / length
    slope = np.array(plan.slope) + generator.normal(0, 0.03, 2)
    bend = np.tan(np.radians(degrees)) * np.array(plan.bend) + generator.normal(0, 0.05, 2)
    centers = np.array(plan.start) + length * (
        np.outer(depth, slope) + np.outer(depth**3 / 3, bend)
    )
    half = np.outer(1 - depth, plan.neck) + np.outer(depth, plan.apex)
    half *= float(generator.normal(1, 0.05))
    # The last 0.8 mm are round.
    missing = np.clip(1 - (heights + length) / 0.8, 0, 0.995)
    return Tube(heights, centers, half * np.sqrt(1 - missing**2)[:, None])


def _canal(
    plan: _Course, roots: dict[str, Tube], floor: float, generator: np.random.Generator
) -> Canal:
    root = roots[plan.root]
    top, end = floor + 0.4, float(root.heights[0] + generator.uniform(0.2, 0.5))
    heights = np.append(np.arange(end, top, _STEP), top)
    progress = (top - heights) / (top - end)
    axis = np.stack(root.at(heights)[:2], axis=1)
    orifice = np.array(plan.orifice) + generator.normal(0, 0.15, 2) - axis[-1]
    centers = axis + np.outer(1 - progress, orifice) + np.outer(progress, plan.apical)
    centers += np.outer(np.sin(np.pi * progress), generator.normal(0, 0.1, 2))
    knots = (0.0, *plan.from_apex, top - end)
    widths = [
        np.interp(heights - end, knots, (side[0], *side, wide))
        for side, wide in zip(
            (plan.mesiodistal, plan.buccolingual), plan.orifice_width, strict=True
        )
    ]
    half = np.stack(widths, axis=1) / 2 * np.exp(generator.normal(0, JITTER))
    # A horizontal cut through a leaning tube is longer than its own section.
    half *= np.sqrt(1 + np.gradient(centers, heights, axis=0) ** 2)
    return Canal(Tube(heights, centers, half), _contrast(heights, generator))


def _contrast(heights: Array, generator: np.random.Generator) -> Array:
    contrast = np.ones_like(heights)
    is_calcified, place, length = generator.random(), generator.random(), generator.uniform(1, 3)
    if is_calcified < _CALCIFIED_SHARE:
        start = heights[0] + place * (heights[-1] - heights[0] - length)
        contrast[(heights > start) & (heights < start + length)] = _CALCIFIED_CONTRAST
    return contrast


def _joined(first: Canal, second: Canal, generator: np.random.Generator) -> Canal:
    """The second canal, running into the first at a height drawn by third."""
    low, high = _JOIN_PLACES[generator.choice(3, p=_JOIN_SHARES)]
    tube, main = second.tube, first.tube
    top = tube.heights[-1]
    joint = top - generator.uniform(low, high) * (top - tube.heights[0])
    kept = tube.heights >= joint
    heights = tube.heights[kept]
    away = tube.centers[-1] - np.array(main.at(top)[:2])
    progress = (top - heights) / (top - joint)
    centers = np.stack(main.at(heights)[:2], axis=1) + np.outer(1 - progress**2, away)
    return Canal(Tube(heights, centers, tube.half_axes[kept]), second.contrast[kept])


def _isthmuses(
    canals: dict[str, Canal], pair: tuple[str, str], share: float, generator: np.random.Generator
) -> tuple[Isthmus, ...]:
    is_there, thickness = generator.random() < share, generator.uniform(0.1, 0.2)
    place, length = generator.uniform(0.3, 0.8), generator.uniform(1.5, 4)
    if not is_there or pair[1] not in canals:
        return ()
    first, second = (canals[name].tube for name in pair)
    bottom = max(first.heights[0], second.heights[0])
    middle = bottom + place * (first.heights[-1] - bottom)
    return (Isthmus(first, second, thickness, max(middle - length / 2, bottom), middle),)


def _chamber(canals: dict[str, Canal], floor: float, ceiling: float, size: Array) -> Chamber:
    orifices = np.array([canal.tube.centers[-1] for canal in canals.values()])
    if len(orifices) < 3:
        orifices = orifices[0] + np.array([(0.4, 0), (-0.4, 0), (0, 1.5), (0, -1.5)])
    hull = ConvexHull(orifices)
    horns = 0.8 * orifices[hull.vertices] + 0.2 * orifices.mean(axis=0)
    return Chamber(hull.equations, 0.45, floor, ceiling, horns, 0.09 * float(size[0]))


def _crown(size: Array, neck: Array, height: float, cusps: int) -> Crown:
    """Widest at 45 % of the height, 78 % of that at the cusps."""
    heights = np.linspace(0, height, 40)
    shape = np.interp(heights / height, (0, 0.2, 0.45, 0.75, 1), (0, 0.55, 1, 0.97, 0.78))
    widths = np.outer(1 - shape, neck) + np.outer(shape, size)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)] if cusps == 4 else [(0, 1), (0, -1)]
    places = 0.27 * size * np.array(signs)
    profile = Tube(heights, np.zeros((40, 2)), widths / 2)
    return Crown(profile, places, height, 1.9, 1.1)


def _trunk(neck: Array, furcation: float) -> Tube:
    """What carries the crown down to where the roots part, round at its lower edge."""
    heights = np.linspace(furcation, _OVERLAP, 60)
    scale = np.interp(heights, (furcation, 0), (0.78, 1.0))
    scale *= np.sqrt(1 - 0.6 * np.clip(1 - (heights - furcation) / 1.2, 0, 1) ** 2)
    return Tube(heights, np.zeros((60, 2)), np.outer(scale, neck) / 2)
