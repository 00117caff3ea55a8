"""Frames and files made by hand, and what the manifest of the samples expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options


@pytest.fixture(scope="session")
def samples(shared: Path) -> Path:
    return shared / "data" / "dicom"


@pytest.fixture(scope="session")
def manifest(samples: Path) -> dict[str, Any]:
    return json.loads((samples / "manifest.json").read_text())


@pytest.fixture
def cases_of() -> Callable[..., list[Case]]:
    """Cases of some inputs, with options by name."""

    def find(*inputs: Path, **options: Any) -> list[Case]:
        return list(discover(inputs, Options(**options)).cases)

    return find


@pytest.fixture
def frame() -> Callable[..., Frame]:
    """A frame of an axial stack."""

    def make(
        position: Sequence[float] = (0, 0, 0),
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        spacing: tuple[float, float] = (1.0, 1.0),
        uid: str = "",
        **keys: Any,
    ) -> Frame:
        place = Place(tuple(map(float, position)), tuple(map(float, orientation)), spacing)
        return Frame(Path(uid or "x"), 0, uid, (16, 16), "1.2.3", place, keys=keys)

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
