"""The images of a folder, or one sentence why they cannot be segmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medsemi.data.headers import read_unambiguous, refuse_channels
from medsemi.data.reading import is_finite, refuse_not_finite, volume_stem
from medsemi.errors import DataError


def require_images(paths: Sequence[str], folder: str) -> Sequence[str]:
    """Return `paths` if there is any, each can be segmented and has a name of its own.

    All are decoded, since a damaged one would end a run in which others wait to be segmented.

    Args:
        paths: of images.
        folder: where they were looked for.

    Raises:
        DataError: if the list is empty, the results of two images would have one name, or images
            cannot be read, are no volumes of one channel, or have voxels that are no numbers; all
            of these are named.
    """
    if not paths:
        msg = f"{folder} holds no NIfTI image (*.nii, *.nii.gz), also not in images/: name another."
        raise DataError(msg)
    _refuse_one_name(paths)
    faults = {Path(path).name: fault for path in paths if (fault := _fault(Path(path)))}
    if faults:
        raise DataError(
            f"{len(faults)} of {len(paths)} images cannot be segmented ({', '.join(faults)}); mend or"
            " remove them, or let medsemi predict pass over them; what is wrong with the first:"
            f" {next(iter(faults.values()))}"
        )
    return paths


def _refuse_one_name(paths: Sequence[str]) -> None:
    names: dict[str, str] = {}
    for path in paths:
        first = names.setdefault(volume_stem(Path(path).name) or path, path)
        if first != path:
            raise DataError(
                f"{first} and {path} have one name, and so would their results: keep one."
            )


def _fault(path: Path) -> str:
    """Why an image cannot be segmented; empty where it can."""
    try:
        _refuse_unfit(path)
    except DataError as error:
        return str(error)
    return ""


def _refuse_unfit(path: Path) -> None:
    array, _ = read_unambiguous(path)
    refuse_channels(array.shape, path)
    if array.ndim < 3:
        raise DataError(
            f"{path}: has the shape {array.shape}, and a volume three axes; give a slice a third axis"
            " of length 1."
        )
    refuse_not_finite(is_finite(array), path)
