"""Refuse one image in two roles, also where its file was changed on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medsemi.data.likeness import SAME_DETAILS, SAME_IMAGE, Alike, detail_agreement, find_alike
from medsemi.data.reading import read_volume
from medsemi.errors import ManifestError

logger = logging.getLogger(__name__)

# Both are trained on, so that an image in both tilts no score; it is told and not refused.
_TRAINED = ("labeled", "unlabeled")
# Pairs that are named; in CT most images look alike, and nobody reads a hundred lines.
_MOST_TOLD = 10


@dataclass(frozen=True)
class Seen:
    """An image of a manifest: its role, its file and its thumbnail (see `likeness.thumbnail`)."""

    role: str
    path: Path
    thumbnail: NDArray[Any]


def files_agreement(first: Path, second: Path) -> float:
    """`detail_agreement` of two files.

    Raises:
        DataError: one cannot be read.
    """
    return detail_agreement(read_volume(first)[0], read_volume(second)[0])


def refuse_copies(
    images: Sequence[Seen], agreement: Callable[[Path, Path], float] = files_agreement
) -> None:
    """Refuse images of training that are also scored on, or chosen on and scored on.

    Refused is what is certain: images that are alike as a whole and also in their details. Two images
    that are alike as a whole alone, as are many of CT and two scans of one patient, and one image
    that is both labeled and unlabeled are logged as a warning each, the most alike first.

    Args:
        images: of all roles that are to be compared.
        agreement: of two files in their details; asked for pairs that are alike as a whole.

    Raises:
        ManifestError: two roles hold one image; the sentence names both files and roles.
    """
    alike = find_alike([image.thumbnail for image in images], [image.role for image in images])
    for number, pair in enumerate(alike):
        first, second = images[pair.first], images[pair.second]
        both_trained = first.role in _TRAINED and second.role in _TRAINED
        if pair.likeness >= SAME_IMAGE and not both_trained:
            _refuse_same_details(pair, first, second, agreement)
        if number < _MOST_TOLD:
            logger.warning("%s", _doubt(pair, first, second, both_trained))
    if len(alike) > _MOST_TOLD:
        logger.warning(
            "%d pairs more of images in two roles are this alike, as is common where all show one"
            " outline, such as in CT.", len(alike) - _MOST_TOLD,
        )  # fmt: skip


def _refuse_same_details(
    pair: Alike, first: Seen, second: Seen, agreement: Callable[[Path, Path], float]
) -> None:
    if agreement(first.path, second.path) >= SAME_DETAILS:
        raise ManifestError(
            f"{second.path}: this {second.role} image shows the same as the {first.role} image"
            f" {first.path} (likeness {pair.likeness:.3f} of 1, and the details agree); keep it in"
            " one subset."
        )


def _doubt(pair: Alike, first: Seen, second: Seen, both_trained: bool) -> str:
    same = both_trained and pair.likeness >= SAME_IMAGE
    what = "may show the same as" if same else "may be of the same patient as"
    return (
        f"{second.path}: this {second.role} image {what} the {first.role} image {first.path}"
        f" (likeness {pair.likeness:.3f} of 1); if so, give both one patient in the manifest."
    )
