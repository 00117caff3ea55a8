"""What is done: the fingerprint of a result, and whether a case folder holds it.

A result depends on the voxels, on where they lie, on the model, on a few options, and on the version
of this program. What tells all of these apart is the fingerprint. It needs every voxel, so a case
record also keeps a quick key, made of the sizes and times of the files: where that is unchanged, no
file is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsemi import __version__
from medsemi.prediction.case import Case
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options

RECORD = "case.json"
# What differs from run to run though the result is the same.
VOLATILE = ("times_s", "peak_memory_gb")
_DECIMALS = 6
_BLOCK = 2**20


def case_folder(out: Path, case_id: str) -> Path:
    """Where the results of a case lie."""
    return out / "cases" / case_id


def of_shard(case: Case, shard: tuple[int, int]) -> bool:
    """Whether a case belongs to a shard (index from 1, count); to exactly one of them."""
    index, count = shard
    key = case.key.encode(errors="surrogateescape")  # it may hold a file name that is no UTF-8
    return int(hashlib.sha256(key).hexdigest(), 16) % count == index - 1


def geometry_digest(case: Case) -> str:
    """SHA-256 over where the voxels of a case lie, and which of several volumes it is."""
    grid = case.grid
    return _digest(
        None
        if grid is None
        else [list(map(int, grid.shape)), grid.affine.round(_DECIMALS).tolist()],
        [round(float(i), _DECIMALS) for i in case.slice_index],
        case.source.volume,
        case.source.volume_key,
    )


def fingerprint(case: Case, input_digest: str, model: Model, options: Options) -> str:
    """SHA-256 over everything that a result depends on.

    Two DICOM series never share a fingerprint, even with equal voxels: the UIDs of what is written
    come from it, and refer to the images of one series. A series that was corrected, such as by
    another patient, has another fingerprint too.

    Args:
        case: with its grid.
        input_digest: of the voxels, see `Volume.digest`.
        model: with its digest.
        options: those that change results count: outputs and overlap. Gaps and tilt need not, since
            what they change is the grid.
    """
    identity = _identity(case, options) if case.source.kind == "dicom" else ""
    return _digest(input_digest, identity, *_circumstances(case, model, options))


def _identity(case: Case, options: Options) -> list[Any]:
    """What the results of a DICOM case refer to, and what they carry of its patient and study."""
    tags = case.source.tags
    uids = ("series_uid", "study_uid", "frame_of_reference_uid")
    carried = tags.get("carried", "") if {"seg", "segmap"} & {*options.outputs} else ""
    images = [[each.uid, each.frame] for each in case.source.slices]
    return [*(tags.get(name, "") for name in uids), carried, images]


def quick_key(case: Case, model: Model, options: Options) -> str:
    """What tells that a fingerprint is unchanged without opening a file.

    Returns:
        SHA-256 over paths, sizes and times of the files and all else that a fingerprint holds;
        empty, which equals nothing, where a file is not there.
    """
    source = case.source
    paths = sorted(
        {source.path, source.data or source.path, *(each.path for each in source.slices)}
    )
    try:
        stats = [(str(path.resolve()), path.stat()) for path in paths]
    except OSError:
        return ""
    files = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return _digest(files, *_circumstances(case, model, options))


def _circumstances(case: Case, model: Model, options: Options) -> list[Any]:
    version = __version__.split(".")[:2]
    return [geometry_digest(case), model.digest, sorted(options.outputs), options.overlap, version]


def _digest(*parts: Any) -> str:  # noqa: ANN401  (JSON)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a case folder; None where there is none, or none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_whole(folder: Path, record: Mapping[str, Any] | None) -> bool:
    """Whether a record says `done` and every output is there with the stated size."""
    if record is None or record.get("status") != "done":
        return False
    try:
        return all(
            (folder / output["file"]).stat().st_size == output["bytes"]
            for output in record["outputs"]
        )
    except (OSError, KeyError, TypeError):
        return False


def changed_since(folder: Path) -> tuple[list[str], int]:
    """What somebody has done in a case folder since its record was written.

    Returns:
        Names of outputs that hold something else now, and the number of files that were added; hidden
        ones, which systems leave in every folder, do not count.
    """
    written = _written(read_record(folder))
    found = {path.name: path for path in folder.glob("[!.]*") if path.name != RECORD}
    changed = [
        name
        for name, output in sorted(written.items())
        if name in found and not (found[name].is_file() and described(found[name]) == output)
    ]
    return changed, len(found.keys() - written.keys())


def described(path: Path) -> dict[str, Any]:
    """What a record says of an output: `file`, `bytes` and `sha256`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _written(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """The outputs of a record by name; none where it is damaged."""
    try:
        return {output["file"]: output for output in (record["outputs"] if record else [])}
    except (KeyError, TypeError):
        return {}


def same_record(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether two records say the same, apart from times and memory."""
    return one is not None and _lasting(one) == _lasting(other)


def _lasting(record: Mapping[str, Any]) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(json.dumps({k: v for k, v in record.items() if k not in VOLATILE}))
