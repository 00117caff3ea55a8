"""Make the pictures of the report for the documents, from phantoms and a real browser.

python scripts/make_report_pictures.py docs/pictures
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from browser import Browser
from PIL import Image

from medsemi.data.phantoms import make_phantom
from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.codes import Finding
from medsemi.prediction.model import Label, Model
from medsemi.prediction.options import Options
from medsemi.prediction.outputs.record import case_record, write_record
from medsemi.prediction.outputs.write import write_case
from medsemi.prediction.report import write_report

MODEL = Model(
    folder=Path(),
    name="phantom_organs",
    version="0.1.0",
    digest="5f1d7c20b3a94e68" * 4,
    modality=("CT", "MR"),
    labels=(
        Label(1, "organ", color=(230, 80, 60)),
        Label(2, "neighbor", color=(86, 180, 233)),
        Label(3, "lesion", color=(240, 228, 66)),
    ),
)
# The example shows no DICOM segmentation: phantoms have no source images to refer to.
OPTIONS = Options(outputs=("nifti", "volumes", "preview"))
SPACING = (1.0, 1.0, 2.5)


@dataclass(frozen=True)
class Sample:
    """One phantom case of the example report.

    Attributes:
        name: case id.
        status: of the record.
        findings: codes.
        agreement: by structure; empty for none.
        tilt: degrees.
        tops: number of slices that are cut off above.
        empty: whether nothing was found.
    """

    name: str
    status: str = "done"
    findings: tuple[Finding, ...] = ()
    agreement: Mapping[str, float | None] | None = None
    tilt: float = 0.0
    tops: int = 0
    empty: bool = False


SAMPLES = (
    Sample("c07f3a9e14d2b", agreement={"organ": 0.97, "neighbor": 0.95, "lesion": None}),
    Sample(
        "c1b08e52f7a63",
        findings=(Finding("W08", {"label": "neighbor", "dice": 0.61}),),
        agreement={"organ": 0.93, "neighbor": 0.61, "lesion": None},
    ),
    Sample("c3d94c7705e18", agreement={"organ": 0.91, "neighbor": 0.88, "lesion": None}, tops=22),
    Sample(
        "c52a6f1c8b09d",
        findings=(Finding("W04", {"degrees": 14.0}),),
        agreement={"organ": 0.95, "neighbor": 0.92, "lesion": None},
        tilt=14,
    ),
    Sample("c6e17b3d20f45", empty=True, agreement={}),
    Sample("c8840d9ab71c6", "refused", (Finding("R01", {"k": 3, "after": "12, 40"}),)),
    Sample("ca25e6f3079b8", "failed", (Finding("E01"),)),
    Sample("cb7710c4e8d3f", "skipped", (Finding("S04"),)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write report_desk.png, report_tablet.png and report_print.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures are written")
    parser.add_argument("--results", type=Path, help="keep the example results in this folder")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = options.results or Path(scratch)
        make_results(out)
        for name, data in photograph(out / "report.html").items():
            _save_small(options.folder / name, data)
    return 0


def make_results(out: Path) -> None:
    """Write an output folder as `medsemi predict` leaves it, with report.html.

    Args:
        out: the folder.
    """
    for index, sample in enumerate(SAMPLES):
        _make_case(out / "cases" / sample.name, sample, index)
    run = {
        "end": "2026-01-15T09:30:00Z",
        "exit_code": 2,
        "bundle": {"name": MODEL.name, "version": MODEL.version, "sha256": MODEL.digest},
        "software": {"medsemi": "0.1.0"},
    }
    (out / "run.json").write_text(json.dumps(run))
    write_report(out)


def photograph(page: Path) -> dict[str, bytes]:
    """Pictures of the page: at a desk, on a tablet in the dark, and a page of its print.

    Args:
        page: report.html.
    """
    first_card = "document.querySelector('.card').scrollIntoView({behavior: 'instant'})"
    with Browser() as browser, tempfile.TemporaryDirectory() as scratch:
        browser.open(page)
        browser.look(1280, 1560)
        desk = browser.screenshot()
        browser.look(820, 1180, scheme="dark")
        browser.value(first_card)
        tablet = browser.screenshot()
        pdf = Path(scratch, "report.pdf")
        pdf.write_bytes(browser.pdf())
        browser.look(800, 1131)
        browser.open(pdf, "toolbar=0&navpanes=0&page=2&view=Fit")
        time.sleep(3)  # the viewer does not tell when it has drawn
        printed = browser.screenshot()
    return {"report_desk.png": desk, "report_tablet.png": tablet, "report_print.png": printed}


def _make_case(folder: Path, sample: Sample, index: int) -> None:
    folder.mkdir(parents=True)
    case, volume, segmentation = _phantom_case(sample, index)
    written, findings = None, sample.findings
    if sample.status == "done":
        written = write_case(folder, case, volume, segmentation, MODEL, OPTIONS, "")
        findings += written.findings
    record = case_record(
        case,
        sample.status,
        findings,
        MODEL,
        OPTIONS,
        volume=volume,
        segmentation=segmentation,
        written=written,
    )
    write_record(folder, record)


def _phantom_case(sample: Sample, index: int) -> tuple[Case, Volume, Segmentation]:
    """A phantom with two structures, in patient coordinates as a scanner gives them."""
    phantom = make_phantom(index, 5, (160, 160, 72), SPACING, noise=0.12)
    kept = slice(0, 72 - sample.tops)
    labels = phantom.label.copy()
    labels[phantom.neighbor] = 2
    if sample.empty:
        labels[:] = 0
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -80, -80, -90
    affine[1, 2] = np.tan(np.radians(sample.tilt)) * SPACING[2]
    image, labels = phantom.image[:, :, kept], labels[:, :, kept]
    tags = {"patient_position": "HFS"}
    source = Source("dicom", "MR", Path(), "", image.shape[2], tags=tags)
    geometry = {"tilt_deg": sample.tilt}
    grid = Grid((160, 160, image.shape[2]), affine)
    case = Case(
        sample.name, sample.name, "volume", (), "predict", (), source, grid, geometry=geometry
    )
    segmentation = Segmentation(labels, labels, sample.agreement or {}, 0, {})
    return case, Volume(image, "", (), "0" * 64), segmentation


def _save_small(path: Path, data: bytes) -> None:
    """Save as PNG of 256 colors, for the repository."""
    with Image.open(io.BytesIO(data)) as picture:
        colors = picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
        colors.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
