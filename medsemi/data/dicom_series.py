"""A volume as a DICOM series of single slices, as a scanner sends it: for the demo and the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medsemi.atomic import write_atomically
from medsemi.errors import DataError

LARGEST = 2**12 - 1  # 12 bits, as scanners store


def write_dicom_series(
    folder: str | Path,
    values: NDArray[Any],
    affine: NDArray[np.float64],
    name: str,
    modality: str = "MR",
) -> list[Path]:
    """Write one file a slice, with rescale slope and intercept that bring the values back.

    Args:
        folder: where `slice_0001.dcm` and so on go; it is made.
        values: (x, y, z), any real type; kept to 1/4095 of their range.
        affine: (4, 4), voxel indices to mm, in NIfTI's axes (right, front, head).
        name: every identifier is derived from it, so the same name gives the same series.
        modality: of the series.

    Returns:
        The files, in the order of the slices.

    Raises:
        DataError: the volume has not three axes, or they are not at right angles.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / steps
    if values.ndim != 3 or not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise DataError(f"{name}: a series needs three axes at right angles.")
    least = float(values.min())
    slope = max(float(values.max()) - least, 1e-6) / LARGEST
    stored = np.round((values - least) / slope).astype("<u2")
    paths = []
    for index in range(values.shape[2]):
        dataset = _header(name, modality, index)
        dataset.ImagePositionPatient = (lps @ [0, 0, index, 1])[:3].round(6).tolist()
        dataset.ImageOrientationPatient = directions[:, :2].T.ravel().round(9).tolist()
        dataset.PixelSpacing = [float(steps[1]), float(steps[0])]
        dataset.SliceThickness = float(steps[2])
        dataset.Columns, dataset.Rows = values.shape[:2]
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.9g}", f"{least:.9g}"
        dataset.PixelData = stored[:, :, index].T.tobytes()
        path = Path(folder, f"slice_{index + 1:04d}.dcm")
        with write_atomically(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
        paths.append(path)
    return paths


def _header(name: str, modality: str, index: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    uid = generate_uid(entropy_srcs=[name, "image", str(index)])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[name, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[name, "series"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame of reference"])
    dataset.Modality, dataset.Manufacturer = modality, "medsemi phantoms"
    dataset.PatientName, dataset.PatientID = "Phantom", "PHANTOM"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition, dataset.SeriesNumber, dataset.InstanceNumber = "HFS", 1, index + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    return dataset
