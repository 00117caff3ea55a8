"""The voxels of a case, in source units, on its grid."""

from __future__ import annotations

from medsemi.prediction.case import Case, Volume
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.reading.dicom_volume import read_dicom
from medsemi.prediction.reading.filling import regular_stack
from medsemi.prediction.reading.itk_files import read_with_itk
from medsemi.prediction.reading.nifti import read_nifti
from medsemi.prediction.reading.readings import Reading
from medsemi.prediction.reading.scaling import paint_background
from medsemi.prediction.reading.silence import silence


def read_volume(case: Case, background: float | None = None, threads: int = 1) -> Volume:
    """Read the voxels of a case.

    DICOM slices are taken in the order of `case.source.slices`, each with its own slope and
    intercept. MONOCHROME1 is not inverted. Where slices are missing or uneven (`case.slice_index`)
    the regular grid is filled by linear interpolation along the normal.

    Args:
        case: with a grid, found by `medsemi.prediction.discovery`.
        background: put where padding or no finite value is stored, in source units; None takes the
            least value of the volume.
        threads: that decode DICOM files side by side; the result does not depend on it.

    Returns:
        Voxels on `case.grid`, indexed (column, row, slice), columns fastest in memory; W14 where
        values were not finite.

    Raises:
        CaseRefused: U01, R07, R08, R09 or R11; whatever a decoder raises becomes one of these.
    """
    if case.grid is None:
        raise CaseRefused("R10", why="no grid")
    try:
        with silence:
            reading = _read(case, threads)
    except CaseRefused:
        raise
    # Damaged files raise what their bytes happen to be, and a run never ends on one of them.
    except Exception as error:
        raise CaseRefused("U01") from error
    paint_background(reading.planes, background)
    planes = reading.planes
    if case.slice_index:
        planes = regular_stack(planes, case.slice_index, case.grid.shape[2])
    replaced = reading.not_finite
    findings = (Finding("W14", {"n": replaced}),) if replaced else ()
    return Volume(planes.T, reading.unit, findings, reading.digest)


def _read(case: Case, threads: int) -> Reading:
    if case.source.kind == "dicom":
        return read_dicom(case, threads)
    if case.source.kind == "nifti":
        return read_nifti(case)
    return read_with_itk(case)
