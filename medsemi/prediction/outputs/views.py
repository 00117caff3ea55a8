"""How a plane of a lattice is turned on the screen: the convention of radiology, from the affine.

Axial and coronal planes are seen with the patient's left on the right of the picture, sagittal ones
with the face on the left; the head is above. Nothing is mirrored: the affine says where is what.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from medsemi.prediction.case import Grid

Vector = NDArray[np.float64]

NAMES = ("sagittal", "coronal", "axial")
# Of each view: the patient axes (x left, y back, z head) to the right and down, with their signs.
_CONVENTION = {
    "sagittal": ((1, 1), (2, -1)),
    "coronal": ((0, 1), (2, -1)),
    "axial": ((0, 1), (1, 1)),
}
_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
# A second letter is shown from about 17 degrees on.
_OBLIQUE = 0.3


@dataclass(frozen=True, eq=False)
class View:
    """The planes of a lattice on which the index along one axis is fixed, as they are shown.

    Attributes:
        name: of `NAMES`: the nearest plane of the body.
        axis: lattice axis (0 column, 1 row, 2 slice) that stands across the planes.
        horizontal: lattice axis that runs across the picture.
        vertical: lattice axis that runs down the picture.
        right: (3,) patient direction (LPS) to the right of the picture, of length 1.
        down: (3,) patient direction down the picture, of length 1, at a right angle to `right`.
        steps: (2, 2) mm to the right and down (rows) of one step along `horizontal` and `vertical`
            (columns). Only a sheared lattice has values off the diagonal.
    """

    name: str
    axis: int
    horizontal: int
    vertical: int
    right: Vector
    down: Vector
    steps: Vector

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """What lies at the left, right, upper and lower edge, as R L A P S I or two of them."""
        right, down = self.right, self.down
        return _letters(-right), _letters(right), _letters(-down), _letters(down)


def views_of(grid: Grid) -> dict[str, View]:
    """The three views of a lattice: axial, coronal and sagittal, in this order.

    Each lattice axis belongs to one axis of the patient, so that the three views show three
    different families of planes however oblique the lattice is.

    Args:
        grid: the lattice.
    """
    unit = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    axis_of = max(
        permutations(range(3)), key=lambda axes: sum(abs(unit[p, a]) for p, a in enumerate(axes))
    )
    return {name: _view(grid, unit, axis_of, name) for name in reversed(NAMES)}


def _view(grid: Grid, unit: Vector, axis_of: tuple[int, ...], name: str) -> View:
    (across, sign_across), (along, sign_along) = _CONVENTION[name]
    horizontal, vertical = axis_of[across], axis_of[along]
    right = _toward(unit[:, horizontal], across, sign_across)
    down = _toward(unit[:, vertical], along, sign_along)
    # Directions within a slice are shown as they are; that of the stack may lean.
    if horizontal < vertical:
        down = _unit(down - right * (right @ down))
    else:
        right = _unit(right - down * (down @ right))
    edges = grid.affine[:3, [horizontal, vertical]]
    steps = np.stack([right @ edges, down @ edges])
    return View(name, axis_of[NAMES.index(name)], horizontal, vertical, right, down, steps)


def _toward(direction: Vector, axis: int, sign: int) -> Vector:
    return direction if direction[axis] * sign >= 0 else -direction


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))


def _letters(direction: Vector) -> str:
    """The sides that a direction points to, strongest first."""
    order = np.argsort(-np.abs(direction), kind="stable")[:2]
    chosen = [
        axis for rank, axis in enumerate(order) if rank == 0 or abs(direction[axis]) > _OBLIQUE
    ]
    return "".join(_LETTERS[axis][int(direction[axis] < 0)] for axis in chosen)
