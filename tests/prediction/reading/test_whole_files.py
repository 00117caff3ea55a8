"""NIfTI, NRRD and MHA files: every byte accounted for, values as stored."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.prediction.case import Case
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.volume import read_volume

Finder = Callable[..., list[Case]]
EQUAL_IN_SPACE = (
    "good",
    "qform_only",
    "sform_only",
    "nifti2",
    "axes_permuted",
    "flipped_left_right",
    "4d_one_volume",
    "units_metre",
)


def one(cases: list[Case]) -> Case:
    (case,) = cases
    return case


def in_space(case: Case) -> dict[tuple[float, ...], float]:
    """Position of each voxel center in mm, to a tenth -> value."""
    assert case.grid is not None
    values = read_volume(case).values
    indices = np.indices(values.shape).reshape(3, -1)
    points = case.grid.affine[:3, :3] @ indices + case.grid.affine[:3, 3:]
    keys = map(tuple, (np.round(points.T, 1) + 0.0).tolist())
    return dict(zip(keys, values.reshape(-1).tolist(), strict=True))


@pytest.fixture(scope="session")
def reference(dicom: Path, find: Finder) -> dict[tuple[float, ...], float]:
    """The DICOM series that the NIfTI files were made from."""
    return in_space(one(find(dicom / "mr_feet_first_ge")))


@pytest.mark.parametrize("name", EQUAL_IN_SPACE)
def test_equal_values_at_equal_places(
    dicom: Path, find: Finder, reference: dict[tuple[float, ...], float], name: str
) -> None:
    assert in_space(one(find(dicom / "nifti" / f"{name}.nii.gz"))) == reference


def test_an_uncompressed_file_is_read_too(
    dicom: Path, find: Finder, reference: dict[tuple[float, ...], float]
) -> None:
    assert in_space(one(find(dicom / "nifti/uncompressed.nii"))) == reference


def test_slope_and_intercept(dicom: Path, find: Finder) -> None:
    plain = read_volume(one(find(dicom / "nifti/good.nii.gz"))).values
    scaled = read_volume(one(find(dicom / "nifti/scaled_slope2_inter-1024.nii.gz"))).values
    assert plain.sum(dtype=np.float64) == 10898874
    stored = np.asanyarray(
        nib.load(dicom / "nifti/scaled_slope2_inter-1024.nii.gz").dataobj.get_unscaled()
    )
    np.testing.assert_array_equal(scaled, stored * 2.0 - 1024)


def test_volumes_of_one_file(dicom: Path, find: Finder) -> None:
    path = dicom / "nifti/4d_three_volumes.nii.gz"
    expected = np.asanyarray(nib.load(path).dataobj)
    cases = sorted(find(path), key=lambda case: case.source.volume or 0)
    assert len(cases) == 3
    for number, case in enumerate(cases):
        np.testing.assert_array_equal(read_volume(case).values, expected[..., number])


def test_what_is_not_finite_becomes_background(dicom: Path, find: Finder) -> None:
    path = dicom / "nifti/nan_and_inf.nii.gz"
    stored = np.asanyarray(nib.load(path).dataobj)
    damaged = ~np.isfinite(stored)
    assert damaged.sum() == 2
    for background, expected in [(-5.0, -5.0), (None, stored[~damaged].min())]:
        volume = read_volume(one(find(path)), background)
        (finding,) = volume.findings
        assert (finding.code, finding.values["n"]) == ("W14", 2)
        assert np.all(volume.values[damaged] == np.float32(expected))
        np.testing.assert_array_equal(volume.values[~damaged], stored[~damaged])


def test_a_truncated_stream_is_refused(dicom: Path, find: Finder) -> None:
    case = one(find(dicom / "nifti/good.nii.gz"))
    cut = replace(case, source=replace(case.source, path=dicom / "nifti/truncated.nii.gz"))
    with pytest.raises(CaseRefused, match="R07"):
        read_volume(cut)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u1", "<u2", ">f4", "<f8", "<i4", "<i8", ">u4"])
def test_types_and_byte_orders(tmp_path: Path, find: Finder, suffix: str, dtype: str) -> None:
    values = np.arange(5 * 6 * 7).reshape(5, 6, 7).astype(dtype)
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values, np.diag([1, 2, 3, 1]), header, dtype=dtype)
    assert image.header.endianness == dtype[0]
    path = tmp_path / f"a{suffix}"
    image.to_filename(path)
    volume = read_volume(one(find(path)))
    np.testing.assert_array_equal(volume.values, values.astype(np.float32))
    assert volume.values.flags.f_contiguous


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small NIfTI file of noise, compressed."""
    values = np.random.default_rng(0).integers(0, 2000, (9, 8, 7), np.int16)
    path = tmp_path_factory.mktemp("small") / "a.nii.gz"
    nib.Nifti1Image(values, np.eye(4)).to_filename(path)
    return path


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_no_truncation_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    small: Path,
    find: Finder,
    share: float,
    compressed: bool,
) -> None:
    raw = small.read_bytes() if compressed else gzip.decompress(small.read_bytes())
    path = tmp_path_factory.mktemp("cut") / small.with_suffix(".gz" if compressed else "").name
    path.write_bytes(raw[: int(share * len(raw))])
    for case in find(path):
        with pytest.raises(CaseRefused, match=r"R07|U01"):
            read_volume(case)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_no_flipped_bit_of_a_compressed_file_changes_a_voxel(
    tmp_path_factory: pytest.TempPathFactory, small: Path, find: Finder, share: float, bit: int
) -> None:
    raw = bytearray(small.read_bytes())
    raw[int(share * len(raw))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "a.nii.gz"
    path.write_bytes(raw)
    for case in find(path):
        try:
            volume = read_volume(case)
        except CaseRefused:
            continue
        np.testing.assert_array_equal(volume.values, nib.load(small).get_fdata(dtype=np.float32))


@pytest.mark.parametrize(("axis", "size"), [(1, 8), (2, 7), (3, 6), (3, 32767), (1, 10)])
def test_sizes_that_do_not_fit_the_data_are_refused(
    tmp_path: Path, small: Path, find: Finder, axis: int, size: int
) -> None:
    raw = bytearray(gzip.decompress(small.read_bytes()))
    raw[40 + 2 * axis : 42 + 2 * axis] = size.to_bytes(2, "little")
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(raw))
    for case in find(path):
        with pytest.raises(CaseRefused, match=r"R0[78]"):
            read_volume(case)


def written(path: Path, values: np.ndarray, compressed: bool = False) -> Path:
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.8, 2.5))
    SimpleITK.WriteImage(image, str(path), compressed)
    return path


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int32", "uint16"])
def test_itk_files(tmp_path: Path, find: Finder, name: str, compressed: bool, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (7, 6, 5)).astype(dtype)
    path = written(tmp_path / name, values, compressed)
    volume = read_volume(one(find(path)))
    np.testing.assert_array_equal(volume.values, values.T.astype(np.float32))
    assert volume.values.flags.f_contiguous
    data = next((p for p in tmp_path.iterdir() if "raw" in p.name), path)
    whole = data.read_bytes()
    data.write_bytes(whole[:-9])
    for case in find(path):
        with pytest.raises(CaseRefused, match="R07"):
            read_volume(case)
    if not compressed:
        data.write_bytes(whole + bytes(400))
        with pytest.raises(CaseRefused, match="R08"):
            read_volume(one(find(path)))


def test_data_of_an_itk_header_lie_beside_it(tmp_path: Path, find: Finder) -> None:
    values = np.zeros((5, 5, 5), np.int16)
    (tmp_path / "inside").mkdir()
    path = written(tmp_path / "inside/a.mhd", values)
    (tmp_path / "inside/a.raw").rename(tmp_path / "a.raw")
    path.write_text(path.read_text().replace("= a.raw", "= ../a.raw"))
    for case in find(path):
        with pytest.raises(CaseRefused, match="U01"):
            read_volume(case)
