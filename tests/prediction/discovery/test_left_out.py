"""Images of a series that are not part of its volume are told on the volume itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options

Find = Callable[..., list[Case]]
SAGITTAL = [0, 1, 0, 0, 0, -1]
KINDS: dict[str, dict[str, Any]] = {
    "S07": {"ImagePositionPatient": None},
    "S03": {
        "PhotometricInterpretation": "RGB",
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "PixelData": bytes(144),
    },
    "S04": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "S06": {"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]},
}


def told(case: Case) -> list[int]:
    return [finding.values["n"] for finding in case.findings if finding.code == "W03"]


@pytest.mark.parametrize("code", KINDS)
def test_slices_of_another_kind_at_the_end_of_a_volume(
    code: str, tmp_path: Path, write_image: Callable[..., Path], cases_of: Find
) -> None:
    for number in range(20):
        write_image(f"{number:02d}.dcm", float(number), **(KINDS[code] if number >= 15 else {}))
    volume, others = sorted(cases_of(tmp_path), key=lambda case: case.outcome)
    assert (volume.outcome, len(volume.source.slices)) == ("predict", 15)
    assert told(volume) == [5]
    assert others.codes == (code,)


def test_they_may_belong_to_any_stack(
    tmp_path: Path, write_image: Callable[..., Path], cases_of: Find
) -> None:
    for number in range(12):
        write_image(f"a{number:02d}.dcm", float(number))
        write_image(
            f"s{number:02d}.dcm",
            ImageOrientationPatient=SAGITTAL,
            ImagePositionPatient=[float(number), 0, 0],
            **({} if number < 10 else {"PixelSpacing": None}),
        )
    large, small = [case for case in cases_of(tmp_path) if case.outcome == "predict"]
    assert {len(large.source.slices), len(small.source.slices)} == {12, 10}
    assert (told(large), told(small)) == ([2], [2])


def test_a_report_is_no_image_left_out(
    tmp_path: Path, write_image: Callable[..., Path], cases_of: Find
) -> None:
    for number in range(12):
        write_image(f"{number:02d}.dcm", float(number))
    report = "1.2.840.10008.5.1.4.1.1.88.22"
    write_image("report.dcm", SOPClassUID=report)
    (volume,) = [case for case in cases_of(tmp_path) if case.outcome == "predict"]
    assert told(volume) == []


def test_a_real_scan_that_lost_the_positions_of_its_end(samples: Path, tmp_path: Path) -> None:
    paths = sorted((samples / "ct_axial_noext").iterdir())
    images = sorted(map(pydicom.dcmread, paths), key=lambda image: image.ImagePositionPatient[2])
    for number, image in enumerate(images):
        if number >= 15:
            del image.ImagePositionPatient
        image.save_as(tmp_path / f"{number:02d}.dcm")
    cases = discover([tmp_path], Options()).cases
    (volume,) = [case for case in cases if case.outcome == "predict"]
    assert told(volume) == [5]
    (strict,) = [c for c in discover([tmp_path], Options(strict=True)).cases if c.grid is not None]
    assert "R12" in strict.codes
