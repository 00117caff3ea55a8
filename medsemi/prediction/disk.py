"""Whether the results will fit on the disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from medsemi.prediction.ahead import volume_bytes
from medsemi.prediction.case import Case
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.lock import not_writable
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options

FULL = 4
_SPARE = 16 * 2**20
_PER_CASE = 2 * 2**20
_RESERVED = 2**16
# Bytes per voxel, generous: label maps compress to less, and SEG files leave out empty frames.
_PER_VOXEL = {"nifti": 0.1, "segmap": 0.1}
_SEG_PER_VOXEL_AND_LABEL, _SEG_LABELS = 1 / 8, 8
_PROBABILITIES_PER_VOXEL = 2.0


def needed_bytes(cases: Iterable[Case], model: Model, options: Options) -> int:
    """About how much the results of these cases take, rather too much than too little."""
    per_voxel = sum(_PER_VOXEL.get(output, 0.0) for output in options.outputs)
    if "seg" in options.outputs:
        per_voxel += _SEG_PER_VOXEL_AND_LABEL * min(len(model.labels), _SEG_LABELS)
    if "probabilities" in options.outputs:
        per_voxel += _PROBABILITIES_PER_VOXEL * (len(model.labels) + 1)
    sizes = [volume_bytes(case) / 4 * per_voxel + _PER_CASE for case in cases]
    return int(sum(sizes)) + _SPARE


def check_space(out: Path, needed: int) -> None:
    """Refuse to start where the results will not fit.

    Raises:
        RunStopped: E04, exit code 4.
    """
    if shutil.disk_usage(out).free < needed:
        raise disk_full(out, needed, FULL)


def disk_full(out: Path, needed: int, exit_code: int) -> RunStopped:
    """The exception E04, with what is free and what is needed, in GB."""
    free = shutil.disk_usage(out).free
    return RunStopped("E04", exit_code, free=f"{free / 1e9:.1f}", needed=f"{needed / 1e9:.1f}")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or what caused it, says that no space or quota is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def reserve(path: Path) -> None:
    """Keep a little space, for what must be written once the disk is full.

    Raises:
        RunStopped: exit code 4; E04: the disk is full already, E15: the file cannot be written.
    """
    try:
        path.write_bytes(bytes(_RESERVED))
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full(path.parent, _SPARE, FULL) from error
        raise not_writable(path.parent, error) from error
