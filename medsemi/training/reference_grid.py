"""Labels on the grid of a file, from probabilities on the grid that a network works on.

As `medsemi predict` decides them, so that a score is that of the segmentation that users get.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medsemi.evaluation.evaluate import LabeledVolume
from medsemi.prediction.case import LPS_FROM_RAS, Grid
from medsemi.prediction.resampling import labels_on


def decide_on_reference(
    probabilities: Tensor, volume: LabeledVolume, reference: LabeledVolume
) -> NDArray[np.uint8]:
    """Interpolate probabilities linearly at the voxels of `reference`; the greatest one wins.

    Args:
        probabilities: (1, classes, *space) of `volume`.
        volume: 3D; what was segmented, resampled along its axes.
        reference: the same case on its own grid.

    Returns:
        Labels, (*space) of the reference.
    """
    return labels_on(probabilities[0], _grid(volume), _grid(reference)).astype(np.uint8)


def _grid(volume: LabeledVolume) -> Grid:
    columns, rows, slices = volume.image.shape[1:]
    return Grid((columns, rows, slices), LPS_FROM_RAS @ volume.affine)
