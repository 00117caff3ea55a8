"""Surface Dice and the error of the volume: two of the metrics that are computed where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_surface_dice

# Nikolov et al. (arXiv 1809.04430) take a tolerance for each organ; 2 mm is that of this package.
TOLERANCE_MM = 2.0

Mask = npt.NDArray[np.generic]


def surface_dice(prediction: Mask, reference: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """Share of both surfaces that lies within 2 mm of the other one (Nikolov et al.).

    Args:
        prediction: (*space), nonzero where the structure is predicted.
        reference: (*space), nonzero where it is.
        spacing: voxel edges in mm.

    Returns:
        `surface_dice_2mm`, 0..1: 1 if both are empty, 0 if one is.
    """
    if not (prediction.any() and reference.any()):
        return {"surface_dice_2mm": float(prediction.any() == reference.any())}
    predicted, true = (
        torch.from_numpy(np.asarray(m, bool))[None, None] for m in (prediction, reference)
    )
    edges = [float(edge) for edge in spacing]  # MONAI wants all of one type
    found = compute_surface_dice(
        predicted, true, [TOLERANCE_MM], include_background=True, spacing=edges
    )
    return {"surface_dice_2mm": float(found)}


def volume_error(prediction: Mask, reference: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """How much too large or too small a structure is.

    Args:
        prediction: (*space), nonzero where the structure is predicted.
        reference: (*space), nonzero where it is.
        spacing: voxel edges in mm.

    Returns:
        `volume_error_ml`, predicted minus true, in ml; `volume_error_share`, its size by the true
        volume, NaN where the reference is empty.
    """
    predicted, true = np.count_nonzero(prediction), np.count_nonzero(reference)
    error = (predicted - true) * math.prod(spacing) / 1000
    share = abs(predicted - true) / true if true else math.nan
    return {"volume_error_ml": error, "volume_error_share": share}
