"""Voxels of whole cases against values computed from the files by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.filling import regular_stack
from medsemi.prediction.reading.volume import read_volume

Finder = Callable[..., list[Case]]


def one(cases: list[Case]) -> Case:
    (case,) = cases
    return case


def plane(path: Path, frame: int = 0) -> np.ndarray:
    """(rows, columns) in source units, by pydicom and the plain attributes of a file."""
    dataset = pydicom.dcmread(path)
    stored = dataset.pixel_array
    stored = stored[frame] if stored.ndim == 3 else stored
    source = dataset
    if "PerFrameFunctionalGroupsSequence" in dataset:
        own = dataset.PerFrameFunctionalGroupsSequence[frame]
        if "PixelValueTransformationSequence" in own:
            source = own.PixelValueTransformationSequence[0]
    slope, intercept = source.get("RescaleSlope", 1), source.get("RescaleIntercept", 0)
    return stored * float(slope) + float(intercept)


def by_hand(files: list[Path], key: Callable[[Dataset], float]) -> np.ndarray:
    """(column, row, slice) of single-frame files, sorted by a key of their headers."""
    ordered = sorted(files, key=lambda path: key(pydicom.dcmread(path)))
    return np.stack([plane(path).T for path in ordered], axis=-1)


def height(dataset: Dataset) -> float:
    row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    return float(np.cross(row, column) @ np.array(dataset.ImagePositionPatient, float))


def changed_copies(
    source: Path, target: Path, change: Callable[[Dataset, int], None]
) -> list[Path]:
    """The files of a folder, each with another header or other pixels, in another folder."""
    target.mkdir(exist_ok=True)
    for number, path in enumerate(sorted(source.iterdir())):
        dataset = pydicom.dcmread(path)
        change(dataset, number)
        dataset.save_as(target / path.name)
    return sorted(target.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "ct_axial_noext",
        "ct_tilt_philips",
        "ct_prone_made",
        "mr_feet_first_ge",
        "mr_jpeg_lossless",
        "mr_nonsquare_pixels",
        "mr_oblique_hitachi",
        "mr_prone_sagittal_siemens",
    ],
)
def test_slices_are_in_the_order_of_space_with_their_own_scale(
    dicom: Path, find: Finder, name: str
) -> None:
    volume = read_volume(one(find(dicom / name)))
    expected = by_hand(list((dicom / name).iterdir()), height)
    np.testing.assert_array_equal(volume.values, expected.astype(np.float32))
    assert volume.values.dtype == np.float32
    assert volume.values.flags.f_contiguous
    assert volume.findings == ()


@pytest.mark.parametrize("name", ["mr_enhanced_philips", "mr_enhanced_siemens"])
def test_frames_of_one_file_have_their_own_scale(dicom: Path, find: Finder, name: str) -> None:
    case = one(find(dicom / name))
    volume = read_volume(case)
    expected = [plane(source.path, source.frame).T for source in case.source.slices]
    np.testing.assert_array_equal(volume.values, np.stack(expected, -1).astype(np.float32))


def test_single_frames_and_a_multi_frame_file_hold_equal_voxels(dicom: Path, find: Finder) -> None:
    single = read_volume(one(find(dicom / "ct_tiny_volume")))
    multi = read_volume(one(find(dicom / "ct_legacy_enhanced")))
    np.testing.assert_array_equal(single.values, multi.values)


def test_monochrome1_is_not_inverted(dicom: Path, find: Finder) -> None:
    plain = read_volume(one(find(dicom / "ct_tiny_volume")))
    inverse = read_volume(one(find(dicom / "ct_monochrome1_made")))
    np.testing.assert_array_equal(plain.values, inverse.values)


def test_scale_of_each_slice(dicom: Path, find: Finder) -> None:
    scaled = read_volume(one(find(dicom / "ct_rescale_per_slice_made")))
    plain = read_volume(one(find(dicom / "ct_gap_one_missing", gaps="fill")))
    assert np.abs(scaled.values - plain.values[:, :, :8]).max() <= 1
    assert scaled.unit == plain.unit == "HU"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ct_two_phases_made", lambda d: int(d.AcquisitionNumber)),
        ("mr_two_echo_siemens", lambda d: float(d.EchoTime)),
    ],
)
def test_volumes_of_one_series_equal_a_split_by_hand(
    dicom: Path, find: Finder, name: str, key: Callable[[Dataset], float]
) -> None:
    files = list((dicom / name).iterdir())
    values = sorted({key(pydicom.dcmread(path)) for path in files})
    cases = sorted(find(dicom / name), key=lambda case: case.source.volume or 0)
    assert len(cases) == len(values) == 2
    for case, value in zip(cases, values, strict=True):
        own = [path for path in files if key(pydicom.dcmread(path)) == value]
        expected = by_hand(own, height).astype(np.float32)
        np.testing.assert_array_equal(read_volume(case).values, expected)


def test_a_time_series_equals_a_split_by_order_of_instances(dicom: Path, find: Finder) -> None:
    files = list((dicom / "mr_time_series_ge").iterdir())
    places: dict[float, list[Path]] = {}
    for path in sorted(files, key=lambda path: int(pydicom.dcmread(path).InstanceNumber)):
        places.setdefault(round(height(pydicom.dcmread(path)), 2), []).append(path)
    cases = sorted(find(dicom / "mr_time_series_ge"), key=lambda case: case.source.volume or 0)
    assert len(cases) == 3
    for number, case in enumerate(cases):
        expected = by_hand([group[number] for group in places.values()], height)
        np.testing.assert_array_equal(read_volume(case).values, expected.astype(np.float32))


def test_a_missing_slice_is_the_mean_of_its_neighbors(dicom: Path, find: Finder) -> None:
    case = one(find(dicom / "ct_gap_one_missing", gaps="fill"))
    values = read_volume(case).values
    assert values.shape == (64, 64, 28)
    assert case.interpolated == (11,)
    np.testing.assert_allclose(values[..., 11], (values[..., 10] + values[..., 12]) / 2, atol=1e-3)
    source = by_hand(list((dicom / "ct_gap_one_missing").iterdir()), height)
    np.testing.assert_array_equal(np.delete(values, 11, axis=-1), source.astype(np.float32))


def test_uneven_slices_are_interpolated_at_their_true_places(dicom: Path, find: Finder) -> None:
    case = one(find(dicom / "ct_uneven_made", gaps="fill"))
    assert case.grid is not None
    values = read_volume(case).values
    files = list((dicom / "ct_uneven_made").iterdir())
    source = by_hand(files, height)
    heights = np.array(sorted(height(pydicom.dcmread(path)) for path in files))
    step = np.linalg.norm(case.grid.affine[:3, 2])
    targets = heights[0] + step * np.arange(values.shape[2])
    for column, row in [(30, 30), (32, 20), (10, 40)]:
        expected = np.interp(targets, heights, source[column, row])
        np.testing.assert_allclose(values[column, row], expected, atol=0.5)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=8),
    st.floats(-3, 3),
    st.integers(1, 20),
)
def test_interpolation_is_exact_where_values_are_linear(
    quarters: list[int], slope: float, count: int
) -> None:
    where = np.cumsum([0, *quarters]) / 4
    planes = np.full((len(where), 2, 3), 7, np.float32)
    planes += (slope * where).astype(np.float32)[:, None, None]
    filled = regular_stack(planes, tuple(where), count)
    expected = 7 + slope * np.minimum(np.arange(count), where[-1])
    np.testing.assert_allclose(filled, expected[:, None, None] + np.zeros((1, 2, 3)), atol=1e-2)


def test_threads_do_not_change_the_result(dicom: Path, find: Finder) -> None:
    case = one(find(dicom / "ct_axial_noext"))
    alone, together = read_volume(case, threads=1), read_volume(case, threads=8)
    np.testing.assert_array_equal(alone.values, together.values)
    assert alone.digest == together.digest


def test_names_of_files_do_not_change_the_digest_but_voxels_scales_and_order_do(
    dicom: Path, find: Finder, tmp_path: Path
) -> None:
    source = dicom / "ct_axial_ffs"
    (tmp_path / "renamed").mkdir()
    for number, path in enumerate(sorted(source.iterdir(), reverse=True)):
        shutil.copy(path, tmp_path / "renamed" / f"{number}")

    def pixel(dataset: Dataset, number: int) -> None:
        if number == 0:
            dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]

    def scale(dataset: Dataset, number: int) -> None:
        if number == 0:
            dataset.RescaleIntercept = "-1000"

    def order(dataset: Dataset, number: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, -z]

    for change in (pixel, scale, order):
        changed_copies(source, tmp_path / change.__name__, change)
    folders = [source, *(tmp_path / name for name in ("renamed", "pixel", "scale", "order"))]
    first, renamed, *others = (read_volume(one(find(folder))).digest for folder in folders)
    assert renamed == first
    assert len({first, *others}) == 4


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("padding", [-2000, 65536 - 2000])
def test_padding_becomes_background(
    dicom: Path, find: Finder, tmp_path: Path, implicit: bool, padding: int
) -> None:
    source = dicom / "ct_gap_one_missing"

    def pad(dataset: Dataset, _: int) -> None:
        pixels = dataset.pixel_array.astype(np.int16)
        pixels[:2], pixels[2] = -2000, -2001  # below the padding of a CT lies nothing either
        dataset.PixelData, dataset.PixelRepresentation = pixels.tobytes(), 1
        dataset.BitsStored, dataset.HighBit = 16, 15
        # Writers mix up the signed and the unsigned form, so both are met in either.
        dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
        if implicit:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"

    changed_copies(source, tmp_path, pad)
    case = one(find(tmp_path, gaps="fill"))
    for background, expected in [(-1024.0, -1024.0), (5.0, 5.0)]:
        volume = read_volume(case, background)
        assert np.all(volume.values[:, :3] == expected)
        assert volume.findings == ()
    values = read_volume(case).values
    assert np.all(values[:, :3] == values[:, 3:].min())


def test_a_range_of_padding_leaves_what_is_outside(
    dicom: Path, find: Finder, tmp_path: Path
) -> None:
    def pad(dataset: Dataset, _: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", 100)
        dataset.add_new("PixelPaddingRangeLimit", "US", 200)

    source = dicom / "mr_feet_first_ge"
    changed_copies(source, tmp_path, pad)
    plain = read_volume(one(find(source))).values
    padded = read_volume(one(find(tmp_path)), -7).values
    inside = (plain >= 100) & (plain <= 200)
    assert inside.any()
    assert np.all(padded[inside] == -7)
    np.testing.assert_array_equal(padded[~inside], plain[~inside])


@pytest.mark.parametrize(
    ("kind", "unit"), [(None, "HU"), ("HU", "HU"), ("US", ""), ("US on the first only", "")]
)
def test_only_a_ct_in_hounsfield_units_has_a_unit(
    dicom: Path, find: Finder, tmp_path: Path, kind: str | None, unit: str
) -> None:
    def rename(dataset: Dataset, number: int) -> None:
        if kind is None:
            dataset.pop("RescaleType", None)
        elif kind in {"HU", "US"} or number == 0:
            dataset.RescaleType = kind[:2]

    changed_copies(dicom / "ct_axial_noext", tmp_path, rename)
    assert read_volume(one(find(tmp_path))).unit == unit
    assert read_volume(one(find(dicom / "mr_feet_first_ge"))).unit == ""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d, n: setattr(d, "RescaleSlope", "0"), "R08"),
        (lambda d, n: setattr(d, "RescaleSlope", ["1", "2"]), "R08"),
        (lambda d, n: n or setattr(d, "HighBit", 3), "R08"),
        (lambda d, n: n or setattr(d, "PixelRepresentation", 3), "R08"),
    ],
)
def test_what_no_scanner_writes_is_refused(
    dicom: Path, find: Finder, tmp_path: Path, change: Callable[..., None], code: str
) -> None:
    changed_copies(dicom / "ct_axial_ffs", tmp_path, change)
    with pytest.raises(CaseRefused) as refused:
        read_volume(one(find(tmp_path)))
    assert refused.value.finding.code == code
    assert str(tmp_path) not in str(refused.value)


def test_a_file_that_is_cut_after_it_was_found_is_refused(
    dicom: Path, find: Finder, tmp_path: Path
) -> None:
    shutil.copytree(dicom / "ct_axial_ffs", tmp_path / "s")
    case = one(find(tmp_path))
    path = case.source.slices[1].path
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CaseRefused, match=r"R07.*slice 2 of 3"):
        read_volume(case)
    path.unlink()
    with pytest.raises(CaseRefused, match="U01"):
        read_volume(case)
