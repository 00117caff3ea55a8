"""Output folders as `medsemi predict` leaves them, with records of the program itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medsemi.prediction.case import Case, Grid, Source
from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Label, Model
from medsemi.prediction.options import Options
from medsemi.prediction.outputs.record import case_record
from medsemi.prediction.outputs.structures import GAP, PANEL, ROW_WIDTH, ROWS_KEY

MODEL = Model(Path(), "liver_model", "1.2.0", "0123456789abcdef" * 4, ("CT",), (Label(1, "liver"),))
SECRETS = {
    "series_uid": "1.2.840.113619.2.55.3",
    "study_uid": "1.2.840.113619.2.55.4",
    "frame_of_reference_uid": "1.2.840.113619.2.55.5",
    "series_description": "DOE^JANE abdomen",
    "manufacturer": "ACME scanners",
    "body_part": "ABDOMEN",
}


def a_volume(name: str, ml: float, **changes: Any) -> dict[str, Any]:
    """One structure of volumes.json."""
    usual = {
        "label": 1,
        "name": name,
        "volume_ml": ml,
        "components": 1,
        "largest_component_ml": ml,
        "interpolated_ml": 0.0,
        "touches_border": "none",
    }
    return usual | changes


def add_case(
    out: Path,
    case_id: str,
    status: str = "done",
    findings: Sequence[Finding] = (),
    volumes: Sequence[Mapping[str, Any]] = (),
    agreement: Mapping[str, float | None] | None = None,
    model: Model = MODEL,
    pictures: Sequence[str] = (),
    folder: str = "",
    **changes: Any,
) -> Path:
    """Write the folder of a case; `pictures` names the rows of structures.png."""
    place = out / "cases" / (folder or case_id)
    place.mkdir(parents=True)
    source = Source("dicom", "CT", Path("x"), "x", 30, tags=SECRETS | {"patient_position": "HFS"})
    grid = Grid((512, 512, 30), np.diag([0.7, 0.7, 5.0, 1.0]))
    case = Case("key", case_id, "volume", (), "predict", (), source, grid)
    record = case_record(case, status, findings, model, Options()) | changes
    if agreement is not None:
        record["agreement"] = dict(agreement)
    (place / "case.json").write_text(json.dumps(record))
    if volumes:
        (place / "volumes.json").write_text(json.dumps({"structures": list(volumes)}))
    if pictures:
        draw_sheet(place / "structures.png", pictures)
    return place


def draw_sheet(path: Path, names: Sequence[str]) -> None:
    """A structures.png of noise, the worst there is to compress."""
    height = (PANEL + GAP) * len(names) - GAP
    noise = np.random.default_rng(0).integers(0, 255, (height, ROW_WIDTH), np.uint8)
    told = PngInfo()
    rows = [{"number": n, "name": name, "color": [230, 60, n]} for n, name in enumerate(names, 1)]
    told.add_text(ROWS_KEY, json.dumps(rows))
    Image.fromarray(noise).convert("P").save(path, pnginfo=told, compress_level=1)


def add_run(out: Path, **changes: Any) -> None:
    """Write run.json."""
    bundle = {"name": MODEL.name, "version": MODEL.version, "sha256": MODEL.digest}
    run = {
        "end": "2026-01-15T09:30:12.123456+00:00",
        "exit_code": 0,
        "bundle": bundle,
        "software": {"medsemi": "0.1.0"},
        "options": {"names": "auto"},
    }
    (out / "run.json").write_text(json.dumps(run | changes))
