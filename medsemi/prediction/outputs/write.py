"""All files of a finished case but its record: written, read back, flushed, hashed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.disk import is_disk_full
from medsemi.prediction.ledger import described
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.outputs.dicom_seg import Kind, write_seg
from medsemi.prediction.outputs.labelmap import write_label_map, write_probabilities
from medsemi.prediction.outputs.preview import draw_preview
from medsemi.prediction.outputs.seg_readback import check_seg
from medsemi.prediction.outputs.source_headers import SegImpossible, read_source_headers
from medsemi.prediction.outputs.structures import draw_structures
from medsemi.prediction.outputs.volumes import (
    StructureMeasures,
    measure_structures,
    volume_findings,
    write_volumes_csv,
    write_volumes_json,
)
from medsemi.prediction.reading.silence import silence

SEG_FILES: dict[str, tuple[str, Kind]] = {
    "seg": ("seg.dcm", "BINARY"),
    "segmap": ("segmap.dcm", "LABELMAP"),
}


@dataclass(frozen=True)
class Written:
    """What was written for a case.

    Attributes:
        outputs: `file`, `bytes` and `sha256` of each, by name.
        findings: W17, W18, W19.
        volumes: one row per label with the columns of volumes.csv, whether or not it was asked for.
        seg_frames: number of frames of the DICOM segmentation; 0 where there is none.
        seconds: that writing took, checks and pictures included.
    """

    outputs: tuple[Mapping[str, Any], ...]
    findings: tuple[Finding, ...]
    volumes: tuple[Mapping[str, Any], ...]
    seg_frames: int
    seconds: float


def write_case(
    folder: Path,
    case: Case,
    volume: Volume,
    segmentation: Segmentation,
    model: Model,
    options: Options,
    fingerprint: str,
) -> Written:
    """Write the outputs that were asked for into a folder; each gets its name only when it is right.

    Args:
        folder: of the case; it must exist.
        case: with its grid.
        volume: its voxels.
        segmentation: its labels.
        model: that made them.
        options: with the outputs that are asked for.
        fingerprint: of the result.

    Raises:
        CaseRefused: E03 if a file cannot be written, or does not hold what was written.
        OSError: if the disk is full.
        ValueError: the case has no grid.
    """
    start = time.perf_counter()
    measures = measure_structures(case, volume, segmentation.labels, model)
    findings = volume_findings(measures)
    with _failed_unless_disk_full():
        _write_lattices(folder, case, segmentation, model, options)
        frames, missing = _write_segs(folder, case, segmentation, model, options, fingerprint)
        if "volumes" in options.outputs:
            _write_volumes(folder, case, measures, fingerprint)
        if "preview" in options.outputs:
            _draw(folder, case, volume, segmentation, model)
        outputs = tuple(described(path) for path in sorted(folder.iterdir()))
    return Written(
        outputs=outputs,
        findings=(*findings, *missing),
        volumes=tuple(asdict(each) for each in measures),
        seg_frames=frames,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _failed_unless_disk_full() -> Iterator[None]:
    """A full disk ends the run, and is told as it is; anything else fails this case."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise
        # The name of the file may hold a path, so the system's own words alone.
        raise CaseRefused("E03", why=error.strerror or type(error).__name__) from error


def _write_lattices(
    folder: Path, case: Case, segmentation: Segmentation, model: Model, options: Options
) -> None:
    assert case.grid is not None
    count = len(model.labels)
    if "nifti" in options.outputs:
        with write_atomically(folder / "seg.nii.gz") as path:
            write_label_map(path, segmentation.labels, case.grid, count)
        if segmentation.orthogonal is not None:
            with write_atomically(folder / "seg_orthogonal.nii.gz") as path:
                write_label_map(path, *segmentation.orthogonal, count)
    if "probabilities" in options.outputs and segmentation.probabilities is not None:
        with write_atomically(folder / "probabilities.nii.gz") as path:
            write_probabilities(path, segmentation.probabilities, case.grid)


def _write_segs(
    folder: Path,
    case: Case,
    segmentation: Segmentation,
    model: Model,
    options: Options,
    fingerprint: str,
) -> tuple[int, list[Finding]]:
    """Frames of the first segmentation asked for, and W19 where there can be none."""
    wanted = [SEG_FILES[name] for name in SEG_FILES if name in options.outputs]
    if not wanted or "W19" in case.codes:
        return 0, []
    if case.source.kind != "dicom":
        # Where seg.nii.gz is written, nobody misses a DICOM file.
        alone = "nifti" not in options.outputs
        return 0, [Finding("W19", {"why": "the source is no DICOM"})] if alone else []
    counts = []
    try:
        # pydicom and highdicom warn with values of the header.
        with silence:
            headers = read_source_headers(case)
            for name, kind in wanted:
                with write_atomically(folder / name) as path:
                    labels = segmentation.slice_labels
                    counts += [write_seg(path, case, labels, headers, model, fingerprint, kind)]
                    check_seg(path, case, labels)
    except SegImpossible as error:
        return max(counts, default=0), [Finding("W19", {"why": str(error)})]
    return counts[0], []


def _write_volumes(
    folder: Path, case: Case, measures: list[StructureMeasures], fingerprint: str
) -> None:
    with write_atomically(folder / "volumes.csv") as path:
        write_volumes_csv(path, measures)
    with write_atomically(folder / "volumes.json") as path:
        write_volumes_json(path, measures, case.case_id, fingerprint)


def _draw(
    folder: Path, case: Case, volume: Volume, segmentation: Segmentation, model: Model
) -> None:
    for name, draw in (("preview.png", draw_preview), ("structures.png", draw_structures)):
        with write_atomically(folder / name) as path:
            draw(path, case, volume, segmentation, model)
