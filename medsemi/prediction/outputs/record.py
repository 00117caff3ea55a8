"""case.json: what happened to a case, and everything that its result depends on.

The schema is `case_schema.json` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsemi.atomic import write_atomically
from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.codes import Finding
from medsemi.prediction.ledger import RECORD, geometry_digest
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.software import software_versions

if TYPE_CHECKING:
    from medsemi.prediction.outputs.write import Written

SCHEMA = "medsemi.case/1"
UIDS = ("series_uid", "study_uid", "frame_of_reference_uid")
DECIMALS = 6
# What belongs to a run, not to a case: the record is the same however the work was shared out.
OF_THE_RUN = ("workers", "overwrite", "shard")
# What a case keeps of each structure, so that summaries need no other file.
KEPT_OF_VOLUMES = ("label", "name", "volume_ml", "touches_border")


def case_record(
    case: Case,
    status: str,
    findings: Sequence[Finding],
    model: Model,
    options: Options,
    *,
    volume: Volume | None = None,
    segmentation: Segmentation | None = None,
    written: Written | None = None,
    fingerprint: str = "",
    seconds: Mapping[str, float] | None = None,
    peak_memory_gb: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """What case.json holds.

    Args:
        case: as its headers describe it.
        status: `done`, `refused`, `failed` or `skipped`.
        findings: all codes that hold, those of `case` among them.
        model: that ran, or was to run.
        options: that were chosen.
        volume: of a case that was read.
        segmentation: of a case that is done.
        written: of a case that is done.
        fingerprint: of the result; empty where there is none.
        seconds: that each stage took.
        peak_memory_gb: of `cpu` and `gpu`, where measured.
    """
    return {
        "schema": SCHEMA,
        "case_id": case.case_id,
        "status": status,
        "class": case.category,
        "flags": list(case.flags),
        "codes": [_code(each) for each in _unique(findings)],
        "source": _source(case),
        "affine_lps": _affine(case),
        "interpolated_slices": list(case.interpolated),
        "geometry_sha256": geometry_digest(case),
        "input_sha256": volume.digest if volume else "",
        "bundle": {"name": model.name, "version": model.version, "sha256": model.digest},
        "options": _options(options),
        "outputs": [dict(each) for each in written.outputs] if written else [],
        "volumes": _volumes(written),
        "seg_frames": written.seg_frames if written else 0,
        "agreement": _plain(segmentation.agreement) if segmentation else {},
        "times_s": {stage: round(float(took), 3) for stage, took in (seconds or {}).items()},
        "peak_memory_gb": {"cpu": None, "gpu": None, **(peak_memory_gb or {})},
        "memory_mode": segmentation.memory_mode if segmentation else None,
        "software": software_versions(),
        "fingerprint": fingerprint,
        # UIDs, names, or numbers and places made of them: whoever guesses a path can make them again.
        "contains_identifiers": True,
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write case.json, whole or not at all; it comes last and marks the case as finished.

    Args:
        folder: of the case.
        record: from `case_record`.

    Raises:
        OSError: if the file cannot be written.
    """
    with write_atomically(folder / RECORD) as path:
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        # In JSON, the escape of what is no UTF-8 stands for just that.
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _unique(findings: Sequence[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    for each in findings:
        if each not in kept:
            kept.append(each)
    return kept


def _code(finding: Finding) -> dict[str, Any]:
    return {"code": finding.code, "text": finding.text, "detail": _plain(finding.values)}


def _options(options: Options) -> dict[str, Any]:
    chosen: dict[str, Any] = _plain(asdict(options))
    return {name: value for name, value in chosen.items() if name not in OF_THE_RUN}


def _source(case: Case) -> dict[str, Any]:
    source, facts, tags = case.source, case.geometry, case.source.tags
    return {
        "kind": source.kind,
        "modality": source.modality,
        "files": source.files,
        "frames": len(source.slices),
        **{name: str(tags.get(name, "")) for name in UIDS},
        "patient_position": str(tags.get("patient_position", "")),
        "transfer_syntax": str(tags.get("transfer_syntax", "")),
        "manufacturer": str(tags.get("manufacturer", "")),
        "matrix": _matrix(case),
        "slices": case.grid.shape[2] if case.grid else None,
        "spacing_mm": _spacing(case),
        "tilt_deg": _plain(facts.get("tilt_deg")),
        "shift_mm": _plain(facts.get("shift_mm")),
        "missing": _plain(facts.get("missing")),
        "volume_index": source.volume,
        "volume_key": source.volume_key,
    }


def _matrix(case: Case) -> list[int] | None:
    """Rows and columns."""
    return [case.grid.shape[1], case.grid.shape[0]] if case.grid else None


def _spacing(case: Case) -> list[float] | None:
    """Distance of rows, of columns, and of slices along their normal, in mm."""
    if case.grid is None:
        return None
    columns, rows, _ = case.grid.spacing
    return [round(step, DECIMALS) for step in (rows, columns, case.grid.slice_distance)]


def _affine(case: Case) -> list[list[float]] | None:
    # Adding zero turns -0.0, which means nothing, into 0.0.
    return None if case.grid is None else (case.grid.affine.round(9) + 0.0).tolist()


def _volumes(written: Written | None) -> list[dict[str, Any]]:
    rows = written.volumes if written else ()
    return [{name: row[name] for name in KEPT_OF_VOLUMES} for row in rows]


def _plain(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Tuples as lists, numbers of NumPy as numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
