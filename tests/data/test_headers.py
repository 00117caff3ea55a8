"""What MONAI's reader takes otherwise than all other parts is refused, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from monai.transforms import LoadImage

from medsemi.data.fingerprint import take_fingerprint
from medsemi.data.headers import refuse_ambiguous_header
from medsemi.data.manifest import parse_manifest
from medsemi.data.reading import read_volume
from medsemi.errors import DataError

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
QFORM = np.diag([1.0, 1.0, 2.0, 1.0])


def plain(header: nibabel.Nifti1Header) -> None:
    pass


def other_qform_of_these_lengths(header: nibabel.Nifti1Header) -> None:
    header.set_qform(QFORM, code=1)


def lengths_rounded(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1:4] = [1.0002, 1, 2]


def other_lengths(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1:4] = [1, 1, 2.2]


def other_lengths_and_place(header: nibabel.Nifti1Header) -> None:
    header.set_qform(np.diag([1.0, 1.0, 2.2, 1.0]), code=0)


def no_quaternion(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1:4] = [1, 1, 2.2]
    header["quatern_b"] = 2


def negative_length(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1] = -1


def lost_qform(header: nibabel.Nifti1Header) -> None:
    header.set_qform(QFORM, code=0)


def written(path: Path, spoil: Callable[[nibabel.Nifti1Header], None], axes: int = 3) -> Path:
    image = nibabel.Nifti1Image(np.ones((6, 5, 4, 1, 1)[:axes], np.float32), AFFINE)
    spoil(image.header)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("spoil", "axes"),
    [
        (plain, 3),
        (plain, 4),
        (other_qform_of_these_lengths, 3),
        (lengths_rounded, 3),
        (other_lengths, 3),
        (other_lengths_and_place, 3),
        (no_quaternion, 3),
        (negative_length, 3),
        (lost_qform, 3),
        (lost_qform, 4),
    ],
)
def test_refused_is_what_training_would_place_elsewhere(
    tmp_path: Path, spoil: Callable[[nibabel.Nifti1Header], None], axes: int
) -> None:
    path = written(tmp_path / "a.nii", spoil, axes)
    try:
        trained = np.asarray(LoadImage()(str(path)).affine)
    except Exception:
        is_same = False
    else:
        is_same = np.allclose(trained, read_volume(path)[1], atol=0.01)
    if is_same:
        refuse_ambiguous_header(path)
        return
    with pytest.raises(DataError, match="contradict each other") as refused:
        refuse_ambiguous_header(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    mended = str(refused.value).split('python -c "')[1].rstrip('".')
    line = mended.replace("a.nii.gz", str(path)).replace("b.nii.gz", str(tmp_path / "b.nii"))
    subprocess.run([sys.executable, "-c", line], check=True)
    refuse_ambiguous_header(tmp_path / "b.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii")[1], AFFINE)


def no_thickness(header: nibabel.Nifti1Header) -> None:
    header["srow_x"][2] = header["srow_y"][2] = header["srow_z"][2] = 0
    header["pixdim"][3] = 0


def one_direction_twice(header: nibabel.Nifti1Header) -> None:
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row][1] = header[row][0]


def not_a_number(header: nibabel.Nifti1Header) -> None:
    header["srow_y"][1] = np.nan


@pytest.mark.parametrize("spoil", [no_thickness, one_direction_twice, not_a_number])
def test_an_affine_without_a_volume_is_refused(
    tmp_path: Path, spoil: Callable[[nibabel.Nifti1Header], None]
) -> None:
    header = nibabel.Nifti1Image(np.ones((6, 5, 4), np.float32), AFFINE).header
    spoil(header)
    nibabel.save(
        nibabel.Nifti1Image(np.ones((6, 5, 4), np.float32), None, header), tmp_path / "a.nii"
    )
    with pytest.raises(
        DataError, match=r"a\.nii: the axes of its affine span no volume"
    ) as refused:
        refuse_ambiguous_header(tmp_path / "a.nii")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("unit", "words"), [("meter", "meters"), ("micron", "micrometers")])
def test_lengths_that_are_not_in_mm_are_refused(tmp_path: Path, unit: str, words: str) -> None:
    path = written(tmp_path / "a.nii.gz", lambda header: header.set_xyzt_units(unit))
    with pytest.raises(DataError, match=rf"a\.nii\.gz: its header gives lengths in {words}"):
        refuse_ambiguous_header(path)
    for known in ("mm", "unknown"):
        refuse_ambiguous_header(written(path, lambda header, x=known: header.set_xyzt_units(x)))


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 3, 2), np.float32)), str(path))
    with pytest.raises(DataError, match=r"a\.mha: training reads NIfTI alone"):
        refuse_ambiguous_header(path)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 5), "the label has shape (6, 5) but its image"),
        ((6, 5, 4, 1, 1), "has the shape (6, 5, 4, 1, 1)"),
        ((6, 5, 4, 2), "the label has shape (6, 5, 4, 2)"),
    ],
)
def test_a_fingerprint_compares_whole_shapes(
    tmp_path: Path, shape: tuple[int, ...], words: str
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 5, 4), np.float32), AFFINE), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), AFFINE), tmp_path / "l.nii")
    document = {
        "name": "m", "classes": {"0": "background", "1": "organ"}, "image": "{case}.nii",
        "labeled": [{"case": "a", "label": "l.nii"}],
    }  # fmt: skip
    with pytest.raises(DataError) as refused:
        take_fingerprint(parse_manifest(document, "m.json"), tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "l.nii"))
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["images/a.nii", "images/b.nii", "labels/a.nii"])
def test_a_fingerprint_refuses_them(tmp_path: Path, name: str) -> None:
    document = {
        "name": "m", "classes": {"0": "background", "1": "organ"}, "image": "images/{case}.nii",
        "label": "labels/{case}.nii", "labeled": ["a"], "unlabeled": ["b"],
    }  # fmt: skip
    for file in ("images/a.nii", "images/b.nii", "labels/a.nii"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        written(tmp_path / file, other_lengths if file == name else plain)
    with pytest.raises(DataError, match=rf"{name}: sform, qform and pixdim"):
        take_fingerprint(parse_manifest(document, "m.json"), tmp_path)
