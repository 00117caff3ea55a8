"""Thick slices: an axis with far larger voxels than the others, which is treated apart.

Source: nnU-Net v2, `ANISO_THRESHOLD` (`configuration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ANISOTROPY = 3.0  # ratio of spacings, and of sizes, from which an axis is treated apart


def coarse_axis(spacing: Sequence[float]) -> int | None:
    """Return the axis whose spacing is more than three times all others; None if there is none.

    Args:
        spacing: edge lengths of a voxel in mm.
    """
    worst = int(np.argmax(spacing))
    others = [n for axis, n in enumerate(spacing) if axis != worst]
    return worst if spacing[worst] > ANISOTROPY * max(others) else None
