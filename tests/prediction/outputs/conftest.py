"""Cases made from real headers in the plainest way, independent of how the program finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medsemi.prediction.case import Case, Grid, Segmentation, SliceSource, Source, Volume
from medsemi.prediction.model import Label, Model


def planes(path: Path) -> list[dict[str, Any]]:
    """Position, orientation and spacing of each frame of a file."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    found = []
    for number in range(len(frames) if frames else 1):
        shared = list(header.get("SharedFunctionalGroupsSequence") or [])
        groups = [frames[number], *shared] if frames else []

        def value(sequence: str, keyword: str, groups: list[Any] = groups) -> Any:
            for group in groups:
                if sequence in group and keyword in group[sequence].value[0]:
                    return group[sequence].value[0][keyword].value
            return header[keyword].value

        found.append(
            {
                "path": path,
                "frame": number,
                "uid": header.get("SOPInstanceUID", ""),
                "ipp": np.array(value("PlanePositionSequence", "ImagePositionPatient"), float),
                "iop": np.array(
                    value("PlaneOrientationSequence", "ImageOrientationPatient"), float
                ),
                "spacing": [float(v) for v in value("PixelMeasuresSequence", "PixelSpacing")],
                "shape": (int(header.Columns), int(header.Rows)),
                "header": header,
            }
        )
    return found


def stack(folder: Path, take: slice = slice(None)) -> Case:
    """A case of all frames below a folder; gaps and uneven steps lie on a regular filled grid."""
    frames = [p for path in sorted(folder.rglob("*")) if path.is_file() for p in planes(path)]
    first = frames[0]
    r, c = first["iop"][:3], first["iop"][3:]
    normal = np.cross(r, c)
    frames.sort(key=lambda frame: float(frame["ipp"] @ normal))
    frames = frames[take]
    t = np.array([frame["ipp"] @ normal for frame in frames])
    steps = np.diff(t)
    step = float(np.median(steps))
    whole = np.allclose(steps / step, np.round(steps / step), atol=0.05)
    step = step if whole else float(steps.min())
    index = (t - t[0]) / step
    index = np.round(index) if whole else index
    affine = np.eye(4)
    affine[:3, 0] = r * first["spacing"][1]
    affine[:3, 1] = c * first["spacing"][0]
    affine[:3, 2] = (frames[-1]["ipp"] - frames[0]["ipp"]) / index[-1]
    affine[:3, 3] = frames[0]["ipp"]
    header = first["header"]
    tags = {
        "series_uid": str(header.get("SeriesInstanceUID", "")),
        "study_uid": str(header.get("StudyInstanceUID", "")),
        "frame_of_reference_uid": str(header.get("FrameOfReferenceUID", "")),
        "patient_position": str(header.get("PatientPosition", "")),
        "manufacturer": str(header.get("Manufacturer", "")),
    }
    slices = tuple(
        SliceSource(frame["path"], frame["frame"], frame["uid"], float(position))
        for frame, position in zip(frames, t, strict=True)
    )
    files = len({each.path for each in slices})
    return Case(
        key=f"{tags['series_uid']}|0|",
        case_id="c0123456789ab",
        category="volume",
        flags=(),
        outcome="predict",
        findings=(),
        source=Source("dicom", header.Modality, slices[0].path, "x", files, slices, tags=tags),
        grid=Grid((*first["shape"], int(np.floor(index[-1] + 1e-6)) + 1), affine),
        slice_index=tuple(index.tolist()),
        geometry={"spacing": step, "tilt_deg": 0.0, "missing": 0},
    )


def lattice_points(case: Case, indices: np.ndarray | None = None) -> np.ndarray:
    """(column, row, slice, 3) patient coordinates of voxels; `indices` along the slice axis."""
    columns, rows, slices = case.grid.shape
    k = np.arange(slices) if indices is None else np.asarray(indices)
    grids = np.meshgrid(np.arange(columns), np.arange(rows), k, indexing="ij")
    points = np.stack([*grids, np.ones_like(grids[0], dtype=float)], axis=-1)
    return points @ case.grid.affine[:3].T


def segmentation(case: Case, count: int = 2, empty: bool = False) -> Segmentation:
    """Spheres in patient space, the second within the first, sampled on grid and source slices."""
    middle = lattice_points(case).reshape(-1, 3).mean(0)
    size = np.abs(case.grid.affine[:3, :3]) @ np.array(case.grid.shape)
    radius = 0.45 * np.sort(size)[1]

    def labels(points: np.ndarray) -> np.ndarray:
        # Off the middle, so that no flip or transposition leaves it unchanged.
        away = np.linalg.norm(points - middle - 0.2 * radius * np.array([1, 0.5, 0.2]), axis=-1)
        found = np.zeros(away.shape, np.uint8)
        for number in range(1, count + 1):
            found[away < radius * (1 - (number - 1) / count)] = number
        return np.asfortranarray(found * (not empty))

    return Segmentation(
        labels=labels(lattice_points(case)),
        slice_labels=labels(lattice_points(case, np.array(case.slice_index))),
        agreement={},
        memory_mode=0,
        seconds={"resample": 0.1, "network": 0.2, "back": 0.1},
    )


def volume(case: Case) -> Volume:
    """Values that count the voxels."""
    values = np.arange(np.prod(case.grid.shape), dtype=np.float32)
    return Volume(values.reshape(case.grid.shape, order="F"), "HU", (), "d" * 64)


@pytest.fixture
def make_case(shared: Path) -> Callable[..., Case]:
    """A case from a sample set, or from another folder; `take` chooses among its sorted frames."""
    sets = shared / "data" / "dicom"
    return lambda folder, take=slice(None): stack(sets / folder, take)


@pytest.fixture
def make_segmentation() -> Callable[..., Segmentation]:
    return segmentation


@pytest.fixture
def make_volume() -> Callable[[Case], Volume]:
    return volume


@pytest.fixture
def edited(shared: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a sample set in which every header is changed."""

    def edit(name: str, change: Callable[[pydicom.Dataset], None], folder: str = "edited") -> Path:
        copy = tmp_path / folder
        copy.mkdir()
        for number, path in enumerate(sorted((shared / "data" / "dicom" / name).iterdir())):
            image = pydicom.dcmread(path)
            change(image)
            image.save_as(copy / f"{number:03d}.dcm")
        return copy

    return edit


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Model]:
    """A model of `count` labels."""
    return lambda count=2: Model(
        folder=tmp_path,
        name="la-bcp",
        version="1.2.0",
        digest="0123456789abcdef" * 4,
        modality=("CT", "MR"),
        labels=tuple(
            Label(n, f"part {n}", type=("SCT", "10200004", "Liver"), color=(200, n % 256, 90))
            for n in range(1, count + 1)
        ),
    )
