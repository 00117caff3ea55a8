"""The images of a folder, or one sentence why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from medsemi.errors import DataError


def require_images(paths: Sequence[str], folder: str) -> Sequence[str]:
    """Return `paths` if there is any.

    Raises:
        DataError: if the list is empty.
    """
    if not paths:
        msg = f"{folder} holds no NIfTI image (*.nii, *.nii.gz), also not in images/: name another."
        raise DataError(msg)
    return paths
