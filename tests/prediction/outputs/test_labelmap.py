"""NIfTI label maps: the grid of the source to the last digit, and nothing that was not asked for."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medsemi.prediction.case import LPS_FROM_RAS, Case, Grid
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.outputs import labelmap
from medsemi.prediction.outputs.labelmap import write_label_map, write_probabilities

SHAPE = (5, 4, 3)
GRID = Grid(SHAPE, np.diag([0.7, 0.8, 2.5, 1.0]))
# Files whose orientation is known; those in other units are scaled when they are read.
NIFTI = (
    "good.nii.gz",
    "uncompressed.nii",
    "nifti2.nii.gz",
    "qform_only.nii.gz",
    "sform_only.nii.gz",
    "oblique_20deg.nii.gz",
    "axes_permuted.nii.gz",
    "flipped_left_right.nii.gz",
    "sform_qform_differ_10mm.nii.gz",
    "sform_pixdim_mismatch.nii.gz",
    "sheared_sform.nii.gz",
)


def some_labels(shape: tuple[int, ...] = SHAPE, most: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most + 1, shape).astype(np.uint16)


@pytest.mark.parametrize("name", NIFTI)
def test_the_affine_of_a_nifti_input_comes_back(shared: Path, tmp_path: Path, name: str) -> None:
    source = nibabel.load(shared / "data" / "dicom" / "nifti" / name)
    grid = Grid(source.shape[:3], LPS_FROM_RAS @ source.affine)
    write_label_map(tmp_path / "seg.nii.gz", some_labels(grid.shape), grid, 2)
    written = nibabel.load(tmp_path / "seg.nii.gz")
    assert written.shape == source.shape
    np.testing.assert_allclose(written.affine, source.affine, rtol=1e-6, atol=0)


def test_the_header_says_what_it_must_and_no_more(tmp_path: Path) -> None:
    write_label_map(tmp_path / "seg.nii.gz", some_labels(), GRID, 2)
    header = nibabel.load(tmp_path / "seg.nii.gz").header
    assert header.get_data_dtype() == np.uint8
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_intent() == ("label", (), "")
    assert int(header["intent_code"]) == 1002
    assert header.get_slope_inter() == (None, None)
    for name in ("descrip", "db_name", "intent_name", "aux_file"):
        assert header[name].item() == b""
    np.testing.assert_allclose(header.get_zooms(), (0.7, 0.8, 2.5), rtol=1e-6)


def test_a_tilted_stack_has_its_sheared_affine_and_no_qform(
    tmp_path: Path, make_case: Callable[..., Case]
) -> None:
    case = make_case("ct_tilt_philips")
    write_label_map(tmp_path / "seg.nii.gz", some_labels(case.grid.shape), case.grid, 2)
    written = nibabel.load(tmp_path / "seg.nii.gz")
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(written.affine[:3, 2], (0, 0, 2.5), atol=1e-3)
    np.testing.assert_allclose(written.affine, case.grid.affine_ras, atol=1e-4)


@pytest.mark.parametrize(("count", "dtype"), [(1, "uint8"), (255, "uint8"), (256, "uint16")])
def test_many_labels_take_two_bytes(tmp_path: Path, count: int, dtype: str) -> None:
    labels = some_labels(most=count)
    labels[0, 0, 0] = count
    write_label_map(tmp_path / "seg.nii.gz", labels, GRID, count)
    written = np.asanyarray(nibabel.load(tmp_path / "seg.nii.gz").dataobj)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, labels)


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, some_labels(), GRID, 2)
    one, other = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert one == other
    assert one[4:8] == bytes(4)  # gzip: no time
    assert not one[3]  # and no name


def rotations() -> st.SearchStrategy[np.ndarray]:
    angle = st.floats(-180, 180)
    turn = st.tuples(angle, angle, angle)
    return turn.map(lambda angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    rotation=rotations(),
    spacing=st.tuples(*[st.floats(0.05, 12)] * 3),
    origin=st.tuples(*[st.floats(-3000, 3000)] * 3),
    shear=st.sampled_from([0.0, 0.0, 0.2, 0.5]),
    flip=st.booleans(),
    fortran=st.booleans(),
)
def test_any_lattice_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    rotation: np.ndarray,
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    shear: float,
    flip: bool,
    fortran: bool,
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 0] *= -1 if flip else 1
    affine[:3, 3] = origin
    labels = some_labels()
    labels = np.asfortranarray(labels) if fortran else labels
    path = tmp_path_factory.mktemp("lattice") / "seg.nii.gz"
    write_label_map(path, labels, Grid(SHAPE, affine), 2)
    written = nibabel.load(path)
    np.testing.assert_allclose(written.affine, LPS_FROM_RAS @ affine, rtol=1.2e-7, atol=1e-4)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), labels)
    assert int(written.header["qform_code"]) == (0 if shear else 1)
    if not shear:
        # float32 quaternions are good for 1 in 3,000 near half turns.
        np.testing.assert_allclose(
            written.get_qform()[:3, :3], written.affine[:3, :3], atol=1e-3 * max(spacing)
        )


def test_probabilities_are_one_volume_per_class(tmp_path: Path) -> None:
    chances = np.random.default_rng(1).random((3, *SHAPE)).astype(np.float16)
    write_probabilities(tmp_path / "p.nii.gz", chances, GRID)
    written = nibabel.load(tmp_path / "p.nii.gz")
    assert written.header.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.moveaxis(written.get_fdata(), -1, 0), chances)
    np.testing.assert_allclose(written.affine, GRID.affine_ras, rtol=1e-6)


def test_probabilities_are_not_read_back_all_at_once(tmp_path: Path) -> None:
    chances = np.random.default_rng(1).random((24, 64, 64, 32)).astype(np.float16)
    write_probabilities(tmp_path / "p.nii.gz", chances, Grid(chances.shape[1:], GRID.affine))
    tracemalloc.start()
    try:
        last = np.moveaxis(chances, 0, -1)
        labelmap._check(tmp_path / "p.nii.gz", last, Grid(chances.shape[1:], GRID.affine))
        assert tracemalloc.get_traced_memory()[1] < 6 * chances[0].size * 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda grid, labels: (Grid(grid.shape, grid.affine * 1.001), labels), "affine"),
        (lambda grid, labels: (grid, labels[::-1]), "voxels"),
        (lambda grid, labels: (grid, labels[:-1]), "shape"),
        (lambda grid, labels: (grid, labels.astype(np.float32)), "type"),
    ],
)
def test_what_is_read_back_wrong_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Grid, np.ndarray], tuple[Grid, np.ndarray]],
    what: str,
) -> None:
    write = labelmap._write

    def write_wrongly(path: Path, image: Any, grid: Grid) -> None:
        grid, labels = change(grid, np.asanyarray(image.dataobj))
        write(path, nibabel.Nifti1Image(labels, grid.affine_ras), grid)

    monkeypatch.setattr(labelmap, "_write", write_wrongly)
    with pytest.raises(CaseRefused, match=what) as refusal:
        write_label_map(tmp_path / "seg.nii.gz", some_labels(), GRID, 2)
    assert refusal.value.finding.code == "E03"


def test_the_file_is_plain_gzip(tmp_path: Path) -> None:
    write_label_map(tmp_path / "seg.nii.gz", some_labels(), GRID, 2)
    with gzip.open(tmp_path / "seg.nii.gz") as file:
        assert len(file.read()) == 352 + np.prod(SHAPE)
