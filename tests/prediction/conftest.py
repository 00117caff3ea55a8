"""Inputs, a model and an output folder of the run in `fake_run.py`; DICOM slices made by hand; a segmenter of a small
bundle and its grid."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medsemi.prediction.case import Grid
from medsemi.prediction.model import load_model
from medsemi.prediction.network import Segmenter
from medsemi.prediction.options import Options


def _beside(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name(name))))


FAKE, SMALL, CASE = map(_beside, ("fake_run.py", "small_bundle.py", "small_case.py"))
Make = Callable[..., Segmenter]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(FAKE.write_model(tmp_path / "bundle"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return Path(FAKE.write_inputs(tmp_path / "in", 4))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def grid() -> Grid:
    return Grid(CASE.SHAPE, CASE.AFFINE)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(classes: int = 2, options: Options | None = None, **settings: Any) -> Segmenter:
        folder = SMALL.write_bundle(
            tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}", classes, **settings
        )
        return Segmenter(load_model(folder), options or Options(device="cpu"))

    return make


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CT slice; elements are set by keyword, or left out with None."""

    def write(name: str, z: float = 0.0, **elements: Any) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        usual: dict[str, Any] = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": f"1.2.826.1.{int.from_bytes(name.encode(), 'big') % 10**15}",
            "StudyInstanceUID": "1.2.826.2",
            "SeriesInstanceUID": "1.2.826.3",
            "FrameOfReferenceUID": "1.2.826.4",
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "PhotometricInterpretation": "MONOCHROME2",
            "SamplesPerPixel": 1,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "Rows": 4,
            "Columns": 6,
            "PixelSpacing": [0.5, 0.8],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, z],
            "PixelData": bytes(48),
        }
        for keyword, value in (usual | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2.3"
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write
