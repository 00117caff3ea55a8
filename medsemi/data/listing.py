"""The images of a folder, or one sentence why they cannot be segmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medsemi.data.reading import volume_stem
from medsemi.errors import DataError


def require_images(paths: Sequence[str], folder: str) -> Sequence[str]:
    """Return `paths` if there is any, and each has a name of its own.

    Args:
        paths: of images.
        folder: where they were looked for.

    Raises:
        DataError: if the list is empty, or the results of two images would have one name.
    """
    if not paths:
        msg = f"{folder} holds no NIfTI image (*.nii, *.nii.gz), also not in images/: name another."
        raise DataError(msg)
    names: dict[str, str] = {}
    for path in paths:
        first = names.setdefault(volume_stem(Path(path).name) or path, path)
        if first != path:
            raise DataError(
                f"{first} and {path} have one name, and so would their results: keep one."
            )
    return paths
