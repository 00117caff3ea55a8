"""Hard pseudo-labels and the largest-component filter, without making a GPU wait."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medsemi.parts.checked_options import check_choice


def hard_labels(logits: Tensor) -> Tensor:
    """Return the most probable class of each voxel as uint8.

    Two classes: foreground where its probability is at least 0.5 (ties are foreground, BCP
    `LA_BCP_train.py` get_cut_mask); more classes: argmax (`ACDC_BCP_train.py`).

    Args:
        logits: shape (batch, classes, *space).

    Returns:
        Shape (batch, *space).
    """
    if logits.shape[1] == 2:
        return (logits[:, 1] >= logits[:, 0]).to(torch.uint8)
    return logits.argmax(1).to(torch.uint8)


def largest_component(
    label: NDArray[np.uint8], connectivity: int | None = None
) -> NDArray[np.uint8]:
    """Keep the largest connected component of each foreground class of one window.

    Args:
        label: class indices, shape (*space).
        connectivity: along how many axes at once two neighbors may differ: in 3D 1, 2, 3 mean 6,
            18, 26 neighbors, in 2D 1, 2 mean 4, 8; None means all axes.

    Returns:
        A new array; removed voxels are background. Of two components of equal size the one that
        comes first in C order stays. A class without voxels stays empty.

    Raises:
        ConfigError: if the window has not that many axes.

    Source: BCP, `LA_BCP_train.py` (LargestCC_pancreas), `ACDC_BCP_train.py` (get_ACDC_2DLargestCC).
    """
    check_choice((None, *range(1, label.ndim + 1)), connectivity=connectivity)
    structure = ndimage.generate_binary_structure(label.ndim, connectivity or label.ndim)
    kept = np.zeros_like(label)
    for value, box in enumerate(ndimage.find_objects(label), start=1):
        if box is not None:
            inside = label[box] == value
            components, _ = ndimage.label(inside, structure)
            largest = np.bincount(components[inside]).argmax()
            np.copyto(kept[box], value, where=components == largest)
    return kept


def start_component_filter(labels: Tensor, connectivity: int | None = None) -> Callable[[], Tensor]:
    """Start filtering a batch of hard labels; the returned function waits and gives the result.

    It filters once, however often it is asked.

    On a GPU the labels travel as one asynchronous copy, and the components are found on the CPU
    while the GPU runs what was queued after this call (the student), so that neither waits for
    more than it must.

    Args:
        labels: uint8, shape (batch, *space).
        connectivity: as in `largest_component`.
    """
    if labels.device.type != "cuda":
        return functools.cache(lambda: _filter(labels, connectivity))
    host = torch.empty(labels.shape, dtype=labels.dtype, pin_memory=True)
    host.copy_(labels, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(labels.device))

    @functools.cache
    def finish() -> Tensor:
        copied.synchronize()
        return _filter(host, connectivity).pin_memory().to(labels.device, non_blocking=True)

    return finish


def _filter(labels: Tensor, connectivity: int | None) -> Tensor:
    return torch.from_numpy(
        np.stack([largest_component(one, connectivity) for one in labels.numpy()])
    )
