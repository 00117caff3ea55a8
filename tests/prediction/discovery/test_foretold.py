"""That no DICOM SEG can be made is foretold where one is asked for, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medsemi.prediction.case import Case
from medsemi.prediction.outputs.source_headers import SegImpossible, read_source_headers

Find = Callable[..., list[Case]]


@pytest.mark.parametrize(
    ("outputs", "foretold"),
    [
        (("nifti", "seg"), True),
        (("segmap",), True),
        (("nifti", "volumes", "preview"), False),
    ],
)
def test_only_where_it_is_asked_for(
    outputs: tuple[str, ...], foretold: bool, samples: Path, cases_of: Find
) -> None:
    (case,) = cases_of(samples / "ct_tilt_siemens", outputs=outputs)
    assert ("W19" in case.codes) is foretold


@pytest.mark.parametrize("wanted", [True, False])
def test_strict_refuses_it_only_where_it_is_asked_for(
    wanted: bool, write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    for z in range(12):
        write_image(f"{z:02}", z, FrameOfReferenceUID=None)
    outputs = ("nifti", "seg") if wanted else ("nifti",)
    (case,) = cases_of(tmp_path, outputs=outputs, strict=True)
    assert (case.outcome, case.codes) == (("refuse", ("R12", "W19")) if wanted else ("predict", ()))


def test_slices_in_files_of_one_frame_each(
    write_image: Callable[..., Path], tmp_path: Path, cases_of: Find
) -> None:
    """As some enhanced CT comes."""
    for z in range(12):
        path = write_image(f"{z:02}", z, NumberOfFrames=1)
        image = pydicom.dcmread(path)
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = image.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        image.PerFrameFunctionalGroupsSequence = [frame]
        image.save_as(path)
    (case,) = cases_of(tmp_path)
    assert (case.outcome, case.codes) == ("predict", ("W19",))
    with pytest.raises(SegImpossible) as impossible:
        read_source_headers(case)
    assert str(impossible.value) == case.findings[0].values["why"]
