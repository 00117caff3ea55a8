"""The solids that a tooth is made of, in the frame of the tooth.

x points to the mesial side, y to the cheek, z to the chewing surface; the origin is the middle of
the cemento-enamel junction. Lengths are mm. Distances are first-order: exact at the surface,
good near it, negative inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What stands for the distance of everything that is not near.
FAR = 1e3
_NEAR = 2.0
_CHAMBER_EDGE, _CORNER = 0.5, 0.55


@dataclass(frozen=True)
class Tube:
    """A root, or the room of a canal: an ellipse in every horizontal plane.

    Attributes:
        heights: (n,) z, rising: the apex comes first.
        centers: (n, 2) x and y of the center line.
        half_axes: (n, 2) half of the width along x and along y.
    """

    heights: Array
    centers: Array
    half_axes: Array

    def at(self, heights: Array) -> list[Array]:
        """Center x, center y, half width along x, half width along y at some heights."""
        columns = np.concatenate([self.centers, self.half_axes], axis=1).T
        return [np.interp(heights, self.heights, column) for column in columns]

    def line(self) -> Array:
        """The center line from the top to the apex, (n, 3)."""
        return np.column_stack([self.centers, self.heights])[::-1]

    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of `points` (3, n) is inside."""
        x, y, z = points
        center_x, center_y, half_x, half_y = self.at(z)
        radius = ((x - center_x) / half_x) ** 2 + ((y - center_y) / half_y) ** 2
        return np.asarray((radius <= 1) & (z <= self.heights[-1]) & (z >= self.heights[0]))

    def distance(self, points: Array) -> Array:
        """Distance of each of `points` (3, n), `FAR` beyond 2 mm from its box."""
        return _near_box(points, self._box(), self._distance)

    def _distance(self, points: Array) -> Array:
        x, y, z = points
        center_x, center_y, half_x, half_y = self.at(z)
        u, v = (x - center_x) / half_x, (y - center_y) / half_y
        radius = np.maximum(np.hypot(u, v), 1e-3)
        side = radius * (radius - 1) / np.maximum(np.hypot(u / half_x, v / half_y), 1e-6)
        ends = np.maximum(z - self.heights[-1], self.heights[0] - z)
        return np.asarray(np.maximum(side, ends))

    def _box(self) -> tuple[Array, Array]:
        low, high = self.centers - self.half_axes, self.centers + self.half_axes
        bottom, top = self.heights[0], self.heights[-1]
        return np.array([*low.min(axis=0), bottom]), np.array([*high.max(axis=0), top])


@dataclass(frozen=True)
class Canal:
    """A root canal.

    Attributes:
        tube: its room.
        contrast: (n,) of each height, 1 where it is open, less where it is calcified.
    """

    tube: Tube
    contrast: Array

    def filling(self, points: Array) -> Array:
        """Contrast at each of `points` (3, n), 0 outside."""
        contrast = np.interp(points[2], self.tube.heights, self.contrast)
        return np.asarray(contrast * self.tube.contains(points))


@dataclass(frozen=True)
class Isthmus:
    """A thin sheet between two canals.

    Attributes:
        first: one canal.
        second: the other.
        thickness: of the sheet.
        bottom: lowest height.
        top: highest height.
    """

    first: Tube
    second: Tube
    thickness: float
    bottom: float
    top: float

    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of `points` (3, n) is inside."""
        x, y, z = points
        start, stop = (np.stack(tube.at(z)[:2]) for tube in (self.first, self.second))
        way = stop - start
        offset = np.stack([x, y]) - start
        length = np.maximum((way**2).sum(axis=0), 1e-9)
        along = np.clip((offset * way).sum(axis=0) / length, 0, 1)
        aside = np.hypot(*(offset - along * way))
        return np.asarray((2 * aside <= self.thickness) & (z >= self.bottom) & (z <= self.top))


@dataclass(frozen=True)
class Chamber:
    """The pulp chamber: a prism over the hull of the orifices, with horns below the cusps.

    Attributes:
        walls: (k, 3) half-planes of the hull, x and y of the normal and the offset.
        margin: how far the walls stand outside the hull.
        floor: height of the floor.
        ceiling: height of the ceiling between the horns.
        horns: (k, 2) places of the horns.
        horn_height: of a horn above the ceiling.
    """

    walls: Array
    margin: float
    floor: float
    ceiling: float
    horns: Array
    horn_height: float

    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of `points` (3, n) is inside."""
        return np.asarray(self.distance(points) <= 0)

    def distance(self, points: Array) -> Array:
        """Distance of each of `points` (3, n)."""
        x, y, z = points
        sides = self.walls[:, :2] @ points[:2] + self.walls[:, 2:]
        reach = np.zeros_like(x)
        for place in self.horns:
            squared = (x - place[0]) ** 2 + (y - place[1]) ** 2
            reach = np.maximum(reach, np.exp(-squared / (2 * 0.6**2)))
        above = z - self.ceiling - self.horn_height * reach
        # The corners are round, but not so much that an orifice leaves the chamber.
        corners = np.sqrt((np.maximum(sides + _CORNER, 0) ** 2).sum(axis=0))
        wall = np.minimum(sides.max(axis=0) + _CORNER, 0) + corners - _CORNER - self.margin
        return rounded_meet(wall, np.maximum(above, self.floor - z), _CHAMBER_EDGE)


@dataclass(frozen=True)
class Crown:
    """Enamel over a core of dentine.

    Attributes:
        profile: half widths along x and y at rising heights, as a tube without bends.
        cusps: (k, 2) places of the cusps.
        height: of the cusps.
        relief: depth of the grooves below the cusps.
        enamel: thickness at the side, at most.
    """

    profile: Tube
    cusps: Array
    height: float
    relief: float
    enamel: float

    def distance(self, points: Array) -> Array:
        """Distance of each of `points` (3, n) from the surface, `FAR` beyond 2 mm from its box."""
        return _near_box(points, self.profile._box(), lambda p: self._distance(p, 0.0))

    def core_distance(self, points: Array) -> Array:
        """Distance from the surface of the dentine under the enamel, as `distance`."""
        return _near_box(points, self.profile._box(), lambda p: self._distance(p, self.enamel))

    def _distance(self, points: Array, thickness: float) -> Array:
        x, y, z = points
        _, _, half_x, half_y = self.profile.at(z)
        # Enamel grows from nothing at the junction; on the cusps it is thicker than at the side.
        inset = thickness * np.clip(z / 2.5, 0, 1)
        u, v = np.abs(x / (half_x - inset)), np.abs(y / (half_y - inset))
        radius = (u**3 + v**3) ** (1 / 3)
        side = (radius - 1) * np.minimum(half_x, half_y)
        top = self._surface(x, y) - 1.5 * thickness
        return np.asarray(np.maximum(side, np.maximum(z - top, -z)))

    def _surface(self, x: Array, y: Array) -> Array:
        bump = np.zeros_like(x)
        for place in self.cusps:
            squared = (x - place[0]) ** 2 + (y - place[1]) ** 2
            bump = np.maximum(bump, np.exp(-squared / (2 * 1.4**2)))
        return np.asarray(self.height - self.relief * (1 - bump))


@dataclass(frozen=True)
class Tooth:
    """One tooth.

    Attributes:
        crown: enamel and what it covers.
        roots: the trunk and the roots.
        chamber: of the pulp.
        canals: by name, such as MB1.
        isthmuses: sheets between canals.
    """

    crown: Crown
    roots: tuple[Tube, ...]
    chamber: Chamber
    canals: Mapping[str, Canal]
    isthmuses: tuple[Isthmus, ...] = ()

    def distance(self, points: Array) -> Array:
        """Distance of each of `points` (3, n) from the surface of the tooth."""
        distance = self.crown.distance(points)
        for root in self.roots:
            distance = np.minimum(distance, root.distance(points))
        return distance

    def pulp_distance(self, points: Array) -> Array:
        """Distance of each of `points` (3, n) from the pulp space without isthmuses."""
        distance = self.chamber.distance(points)
        for canal in self.canals.values():
            distance = np.minimum(distance, canal.tube.distance(points))
        return distance

    def pulp_filling(self, points: Array) -> Array:
        """How much each of `points` (3, n) looks like pulp: 0 outside, 1 in chamber and canals."""
        filling = self.chamber.contains(points).astype(np.float64)
        for canal in self.canals.values():
            filling = np.maximum(filling, canal.filling(points))
        return filling

    def in_isthmus(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of `points` (3, n) is in a sheet between canals."""
        inside = np.zeros(points.shape[1], bool)
        for isthmus in self.isthmuses:
            inside |= isthmus.contains(points)
        return inside


def rounded_meet(first: Array, second: Array, radius: float) -> Array:
    """Distance from what two solids have in common, its edge rounded.

    Args:
        first: distance from one solid.
        second: distance from the other.
        radius: of the edge.
    """
    first, second = first + radius, second + radius
    outside = np.hypot(np.maximum(first, 0), np.maximum(second, 0))
    return np.minimum(np.maximum(first, second), 0) + outside - radius


def _near_box(points: Array, box: tuple[Array, Array], distance: Callable[[Array], Array]) -> Array:
    low, high = (edge[:, None] for edge in box)
    near = ((points > low - _NEAR) & (points < high + _NEAR)).all(axis=0)
    result = np.full(points.shape[1], FAR)
    result[near] = distance(points[:, near])
    return result
