"""Image and label stay on one grid while transforms run over both.

The headers of the two may round one affine differently. Where a plane is turned by 45 degrees, such a
difference decides which axis counts as the one to the right: `Orientationd`, which asks each for its
own affine, would then turn the label by a quarter and leave the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose, LoadImaged

from medsemi.data.headers import is_same_grid, largest_corner_shift
from medsemi.errors import DataError

Transforms = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def run_aligned(transforms: Transforms, sources: Mapping[str, Path]) -> Mapping[str, Any]:
    """Run transforms over the files of a case; the label takes the affine of its image once loaded.

    Args:
        transforms: as for `VolumeStore`; only a `Compose` whose list holds a `LoadImaged` can be
            stopped after it, what others make is left to `refuse_apart`.
        sources: files, by key.

    Returns:
        What the transforms return.
    """
    data: Any = {name: str(path) for name, path in sources.items()}
    # A subclass, such as OneOf, has another order.
    if type(transforms) is not Compose or "label" not in sources:
        return transforms(data)
    steps = enumerate(transforms.transforms, 1)
    loaded = max((number for number, step in steps if isinstance(step, LoadImaged)), default=0)
    if loaded:
        data = transforms(data, end=loaded)
        _take_affine(data["image"], data["label"])
    prepared: Mapping[str, Any] = transforms(data, start=loaded)
    return prepared


def refuse_apart(image: Any, label: Any, sources: Mapping[str, Path]) -> None:  # noqa: ANN401 - MONAI
    """Refuse a label that lies elsewhere than its image after preparation.

    Args:
        image: channel first, of the same space as the label; an array without affine is let through.
        label: likewise.
        sources: files, by key.

    Raises:
        DataError: a corner is further away than headers round.
    """
    if not (hasattr(image, "affine") and hasattr(label, "affine")):
        return
    shape, affine, other = label.shape[1:], np.asarray(image.affine), np.asarray(label.affine)
    if not is_same_grid(shape, affine, other):
        shift = largest_corner_shift(shape, affine, other)
        raise DataError(
            f"{sources['label']}: lies elsewhere than its image {sources['image']} after preparation (a"
            f" corner is {shift:.3g} mm away); give both one affine, and one orientation in the transforms."
        )


def _take_affine(image: Any, label: Any) -> None:  # noqa: ANN401 - MONAI has no types
    """A label that truly lies elsewhere keeps its affine: transforms may bring it to its image."""
    if is_same_grid(label.shape[:3], np.asarray(image.affine), np.asarray(label.affine)):
        label.affine = image.affine.clone()
