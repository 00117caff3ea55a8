"""Where the segmentations of a folder are written: no earlier one is lost, and there is room."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from medsemi.data.reading import volume_stem
from medsemi.errors import ConfigError, OutputError


def require_room(images: Sequence[str], results_dir: str | Path) -> None:
    """Make the folder of an inference, unless what it holds would be replaced.

    Args:
        images: paths of what is segmented.
        results_dir: gets `<name>_seg.nii.gz` for each, as `SaveImaged` of `inference.yaml` names it.

    Raises:
        ConfigError: it holds a result of one of these names, maybe of an image in another folder.
        OutputError: it cannot be made or takes no files.
    """
    folder = Path(results_dir)
    names = [f"{volume_stem(Path(path).name)}_seg.nii.gz" for path in images]
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise ConfigError(
            f"{folder} holds results that this run would replace, such as {there[0]} ({len(there)} in"
            " all); give another --results_dir, or move them away."
        )
    try:
        with suppress(FileExistsError):  # a file in its place is told by what follows
            folder.mkdir(parents=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(folder)) from error
