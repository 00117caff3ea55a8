"""Phantoms as a data set on the disk: images, labels and a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medsemi.data.manifest import Manifest, save_manifest
from medsemi.data.writing import write_nifti
from medsemi.errors import DataError


class LabeledImage(Protocol):
    """What a data set keeps of a phantom."""

    @property
    def image(self) -> NDArray[Any]:
        """Intensities, (x, y, z)."""

    @property
    def label(self) -> NDArray[np.uint8]:
        """Classes, (x, y, z)."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to mm, (4, 4)."""


def write_phantom_set(
    folder: str | Path,
    make: Callable[[int], LabeledImage],
    prefix: str,
    count: int,
    roles: tuple[int, int, int],
    prose: Mapping[str, Any],
) -> Manifest:
    """Write images/, labels/ and manifest.json.

    Case i is the same for every count and every split; the first are labeled, then come the
    unlabeled, the validation and the test cases.

    Args:
        folder: where to write.
        make: gives the case of a number.
        prefix: case ids are <prefix>_0000 and so on.
        count: number of cases in all.
        roles: number of labeled, validation and test cases; what is left is unlabeled.
        prose: `name`, `description`, `source` and `classes` of the manifest.

    Returns:
        The manifest that was written.

    Raises:
        DataError: the roles ask for more cases than there are; nothing is written then.
    """
    labeled, validation, test = roles
    unlabeled = count - sum(roles)
    if min(unlabeled, labeled - 1, validation, test) < 0:
        raise DataError(
            f"{count} phantoms cannot give {labeled} labeled, {validation} validation and {test}"
            " test cases; ask for at least one labeled case and enough in all."
        )
    ids = [f"{prefix}_{index:04d}" for index in range(count)]
    for index, case_id in enumerate(ids):
        phantom = make(index)
        write_nifti(Path(folder, "images", f"{case_id}.nii.gz"), phantom.image, phantom.affine)
        write_nifti(Path(folder, "labels", f"{case_id}.nii.gz"), phantom.label, phantom.affine)
    document: dict[str, Any] = {
        "name": prose["name"],
        "description": prose["description"],
        "source": prose["source"],
        "terms": "Synthetic; free to use.",
        "classes": prose["classes"],
        "image": "images/{case}.nii.gz",
        "label": "labels/{case}.nii.gz",
    }
    stops = np.cumsum([0, labeled, unlabeled, validation, test])
    names = ("labeled", "unlabeled", "validation", "test")
    for role, start, stop in zip(names, stops[:-1], stops[1:], strict=True):
        document[role] = ids[start:stop]
    return save_manifest(document, Path(folder, "manifest.json"))
