"""Refuse one image in two roles, also where its file was changed on the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medsemi.data.likeness import SAME_IMAGE, Alike, find_alike
from medsemi.errors import ManifestError

logger = logging.getLogger(__name__)

# Both are trained on, so that an image in both tilts no score; it is told and not refused.
_TRAINED = ("labeled", "unlabeled")


@dataclass(frozen=True)
class Seen:
    """An image of a manifest: its role, its file and its thumbnail (see `likeness.thumbnail`)."""

    role: str
    path: Path
    thumbnail: NDArray[Any]


def refuse_copies(images: Sequence[Seen]) -> None:
    """Refuse images of training that are also scored on, or chosen on and scored on.

    Two images that may be two scans of one patient, and one image that is both labeled and
    unlabeled, are logged as a warning each.

    Args:
        images: of all roles that are to be compared.

    Raises:
        ManifestError: two roles hold one image; the sentence names both files and roles.
    """
    alike = find_alike([image.thumbnail for image in images], [image.role for image in images])
    for pair in alike:
        first, second = images[pair.first], images[pair.second]
        both_trained = first.role in _TRAINED and second.role in _TRAINED
        if pair.likeness >= SAME_IMAGE and not both_trained:
            raise ManifestError(
                f"{second.path}: this {second.role} image shows the same as the {first.role} image"
                f" {first.path} (likeness {pair.likeness:.3f} of 1); keep it in one subset."
            )
        logger.warning("%s", _doubt(pair, first, second))


def _doubt(pair: Alike, first: Seen, second: Seen) -> str:
    what = "shows the same as" if pair.likeness >= SAME_IMAGE else "may be of the same patient as"
    return (
        f"{second.path}: this {second.role} image {what} the {first.role} image {first.path}"
        f" (likeness {pair.likeness:.3f} of 1); if so, give both one patient in the manifest."
    )
