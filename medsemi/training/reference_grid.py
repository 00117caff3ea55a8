"""Labels on the grid of a file, from probabilities on the grid that a network works on.

As `medsemi predict` decides them, so that a score is that of the segmentation that users get.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medsemi.evaluation.evaluate import LabeledVolume
from medsemi.prediction.case import LPS_FROM_RAS, Grid
from medsemi.prediction.network import LEAST_PROBABILITY
from medsemi.prediction.resampling import labels_on


def decide_on_reference(
    probabilities: Tensor, volume: LabeledVolume, reference: LabeledVolume
) -> NDArray[np.uint8]:
    """Interpolate logits linearly at the voxels of `reference`; the greatest one wins.

    Logarithms of probabilities are logits but for a number that all classes of a voxel share.

    Args:
        probabilities: (1, classes, *space) of `volume`.
        volume: 3D; what was segmented, resampled along its axes.
        reference: the same case on its own grid.

    Returns:
        Labels, (*space) of the reference.
    """
    logits = probabilities[0].clamp(min=LEAST_PROBABILITY).log_()  # one copy of all classes
    return labels_on(logits, _grid(volume), _grid(reference)).astype(np.uint8)


def _grid(volume: LabeledVolume) -> Grid:
    columns, rows, slices = volume.image.shape[1:]
    return Grid((columns, rows, slices), LPS_FROM_RAS @ volume.affine)
