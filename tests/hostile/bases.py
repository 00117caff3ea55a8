"""Good files, which the mutator then damages: samples, series in every transfer syntax, ITK files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom import data

# Small ones, so that thousands of mutants take minutes.
STACKS = (
    "ct_tiny_volume",
    "ct_legacy_enhanced",
    "ct_rescale_per_slice_made",
    "mr_enhanced_4d_philips",
    "mr_enhanced_hyperfine",
    "mr_jpeg_lossless",
    "mr_nonsquare_pixels",
    "mr_oblique_hitachi",
    "mr_two_echo_siemens",
)
NIFTI = (
    "good.nii.gz",
    "uncompressed.nii",
    "nifti2.nii.gz",
    "qform_only.nii.gz",
    "oblique_20deg.nii.gz",
    "scaled_slope2_inter-1024.nii.gz",
    "4d_three_volumes.nii.gz",
    "sheared_sform.nii.gz",
)
ITK = ("a.mha", "b.mha", "c.nrrd", "d.nrrd")
LARGEST_FILE = 300_000


def build(shared: Path, target: Path) -> None:
    """Lay out one folder for each base below `target`, named `<kind>-<name>`.

    Args:
        shared: folder of reference data.
        target: a new folder.
    """
    samples = shared / "data/dicom"
    for name in STACKS:
        shutil.copytree(samples / name, target / f"stack-{name}")
    for path in sorted((samples / "transfer_syntaxes").glob("*.dcm")):
        _series(path, target / f"stack-{path.stem}")
    bundled = Path(str(data.__file__)).parent / "test_files"
    broken = (samples / "broken").iterdir()
    for path in sorted([*bundled.glob("*.dcm"), *broken]):
        if path.is_file() and 0 < path.stat().st_size < LARGEST_FILE:
            _alone(path, target / f"alone-{path.parent.name}-{path.name}")
    for name in NIFTI:
        _alone(samples / "nifti" / name, target / f"nifti-{name}")
    values = np.random.default_rng(0).integers(0, 2000, (7, 9, 8)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.8, 2.5))
    for number, name in enumerate(ITK):
        (target / f"itk-{name}").mkdir()
        SimpleITK.WriteImage(image, str(target / f"itk-{name}" / name), bool(number % 2))


def _alone(path: Path, folder: Path) -> None:
    folder.mkdir()
    shutil.copyfile(path, folder / path.name)


def _series(path: Path, folder: Path) -> None:
    """Four slices that all hold the one image of a file, still encoded."""
    folder.mkdir()
    for number in range(4):
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + 2.5 * number]
        dataset.SOPInstanceUID = f"2.25.{number + 1}"
        dataset.save_as(folder / f"{number}.dcm")
