"""Each refusal of the training data, and that nothing forbidden is opened."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsemi.data import checks
from medsemi.data.checks import check_training_data, image_facts, label_facts
from medsemi.data.manifest import Manifest, parse_manifest
from medsemi.errors import ManifestError

SHAPE = (6, 5, 4)
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


@pytest.fixture
def manifest() -> Manifest:
    return parse_manifest(
        {
            "name": "small",
            "classes": {"0": "background", "1": "organ"},
            "image": "images/{case}.nii.gz",
            "label": "labels/{case}.nii.gz",
            "labeled": ["a"],
            "unlabeled": ["b", "c"],
            "validation": ["d"],
            "test": ["e"],
        },
        "m.json",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All that training may open: no test file, no label of an unlabeled case."""
    generator = np.random.default_rng(0)
    for case in "abcd":
        image = generator.normal(size=SHAPE).astype(np.float32)
        write(tmp_path / "images" / f"{case}.nii.gz", image)
    for case in "ad":
        label = (generator.random(SHAPE) < 0.5).astype(np.uint8)
        write(tmp_path / "labels" / f"{case}.nii.gz", label)
    return tmp_path


def test_good_data_pass_without_test_files_and_unlabeled_labels(
    manifest: Manifest, folder: Path
) -> None:
    check_training_data(manifest, folder)


def test_unlabeled_labels_and_test_files_are_not_opened_where_they_exist(
    manifest: Manifest, folder: Path
) -> None:
    for name in ("labels/b.nii.gz", "labels/c.nii.gz", "labels/e.nii.gz", "images/e.nii.gz"):
        (folder / name).write_bytes(b"no volume")
    check_training_data(manifest, folder)


@pytest.mark.parametrize(
    "name", ["images/a.nii.gz", "labels/a.nii.gz", "images/c.nii.gz", "labels/d.nii.gz"]
)
def test_missing_files(manifest: Manifest, folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(manifest, folder, name, "is missing")


def test_several_missing_files_are_counted(manifest: Manifest, folder: Path) -> None:
    (folder / "images/a.nii.gz").unlink()
    (folder / "images/c.nii.gz").unlink()
    refused(manifest, folder, "images/a.nii.gz", "2 files are missing in all")


def other_shape(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.zeros((6, 5, 3), np.uint8))


def other_spacing(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.zeros(SHAPE, np.uint8), np.diag([1.5, 1.5, 2.1, 1.0]))


def other_origin(folder: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 3] = 1.0
    write(folder / "labels/a.nii.gz", np.zeros(SHAPE, np.uint8), affine)


def fewer_axes(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.ones(SHAPE[:2], np.uint8))


def more_axes(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.ones((*SHAPE, 1, 1), np.uint8))


def several_labels(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.ones((*SHAPE, 2), np.uint8))


def wrong_values(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.full(SHAPE, 7, np.uint8))


def fractional_values(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.full(SHAPE, 0.5, np.float32))


def nan_in_label(folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.full(SHAPE, np.nan, np.float32))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_shape, "shape (6, 5, 3)"),
        (fewer_axes, "shape (6, 5) but its image"),
        (more_axes, "has the shape (6, 5, 4, 1, 1)"),
        (several_labels, "shape (6, 5, 4, 2)"),
        (other_spacing, "affine differs"),
        (other_origin, "1 mm away"),
        (wrong_values, "values {7} outside the classes [0, 1]"),
        (fractional_values, "values {0.5}, which are no whole numbers"),
        (nan_in_label, "NaN"),
    ],
)
def test_bad_labels(
    manifest: Manifest, folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(folder)
    refused(manifest, folder, "labels/a.nii.gz", words)


def scaled(folder: Path, stored: int, slope: float) -> None:
    """Written as some tools do: whole numbers are a slope times others."""
    label = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE)
    label.dataobj[::2] = stored
    label.header.set_slope_inter(slope, 0)
    nibabel.save(label, folder / "labels/a.nii.gz")


@pytest.mark.parametrize(("stored", "slope"), [(10, 0.1), (3, 1 / 3), (1000, 0.001)])
def test_values_that_scaling_rounded_are_whole(
    manifest: Manifest, folder: Path, stored: int, slope: float
) -> None:
    scaled(folder, stored, slope)
    values = np.unique(np.asarray(nibabel.load(folder / "labels/a.nii.gz").dataobj))
    assert values[-1] == pytest.approx(1)
    check_training_data(manifest, folder)
    assert label_facts(folder / "labels/a.nii.gz").values == (0.0, 1.0)


def test_values_that_scaling_made_others_of_are_told_as_such(
    manifest: Manifest, folder: Path
) -> None:
    scaled(folder, 10, 0.103)
    words = "values {1.03}, which are no whole numbers: scl_slope of its header or a resampling"
    refused(manifest, folder, "labels/a.nii.gz", words)
    scaled(folder, 20, 0.1)
    refused(manifest, folder, "labels/a.nii.gz", "values {2} outside the classes")


@pytest.mark.parametrize("case", ["a", "b", "d"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(manifest: Manifest, folder: Path, case: str, value: float) -> None:
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    image[1, 2, 3] = value
    write(folder / f"images/{case}.nii.gz", image)
    refused(manifest, folder, f"images/{case}.nii.gz", "NaN or infinite")


@pytest.mark.parametrize(
    ("value", "kind"), [(-3.4028e38, np.float32), (1e39, np.float64), (1e20, np.float32)]
)
def test_fill_values(manifest: Manifest, folder: Path, value: float, kind: type) -> None:
    """Mean and deviation over them are none, or leave nothing of the rest of the image."""
    image = np.random.default_rng(1).normal(size=(20, 20, 20)).astype(kind)
    image[0, 0] = value
    write(folder / "images/b.nii.gz", image)
    refused(manifest, folder, "images/b.nii.gz", "fill values beyond 1e+15 such as -3.4e38")


def test_a_header_rounded_to_float32_is_the_same_grid(manifest: Manifest, folder: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 3] += 1e-4
    label = np.asarray(nibabel.load(folder / "labels/a.nii.gz").dataobj)
    write(folder / "labels/a.nii.gz", label, affine)
    check_training_data(manifest, folder)


def test_a_class_that_no_labeled_case_shows_is_named(manifest: Manifest, folder: Path) -> None:
    write(folder / "labels/a.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(ManifestError, match="labeled case has the value 1 of the class 'organ'"):
        check_training_data(manifest, folder)


@pytest.mark.parametrize(("source", "copy"), [("a", "b"), ("c", "d"), ("a", "d")])
def test_same_content_in_two_subsets(
    manifest: Manifest, folder: Path, source: str, copy: str
) -> None:
    """Compressed anew and stored in another type, so that the files share no bytes."""
    image = nibabel.load(folder / f"images/{source}.nii.gz")
    data = np.asarray(image.dataobj, dtype=np.float64)
    plain = nibabel.Nifti1Image(data, AFFINE, dtype=np.float64).to_bytes()
    (folder / f"images/{copy}.nii.gz").write_bytes(gzip.compress(plain, 1))
    refused(manifest, folder, f"images/{copy}.nii.gz", "same content")


def test_same_content_within_one_subset_is_allowed(manifest: Manifest, folder: Path) -> None:
    (folder / "images/c.nii.gz").write_bytes((folder / "images/b.nii.gz").read_bytes())
    check_training_data(manifest, folder)


def test_several_channels(manifest: Manifest, folder: Path) -> None:
    write(folder / "images/a.nii.gz", np.zeros((*SHAPE, 2), np.float32))
    refused(manifest, folder, "images/a.nii.gz", "2 channels")


@pytest.mark.parametrize("name", ["images/a.nii.gz", "images/b.nii.gz", "labels/d.nii.gz"])
def test_axes_beyond_a_channel_are_refused_with_a_line_that_drops_them(
    manifest: Manifest, folder: Path, name: str
) -> None:
    image = nibabel.load(folder / name)
    array = np.asarray(image.dataobj)
    write(folder / name, array[..., None])
    check_training_data(manifest, folder)
    write(folder / name, array[..., None, None])
    with pytest.raises(ManifestError, match=rf"{name}: .* training takes three axes") as caught:
        check_training_data(manifest, folder)
    line = str(caught.value).split('python -c "')[1].rstrip('".')
    for stood in ("'a.nii.gz'", "'b.nii.gz'"):
        line = line.replace(stood, repr(str(folder / name)))
    subprocess.run([sys.executable, "-c", line], check=True)
    assert nibabel.load(folder / name).shape == SHAPE
    check_training_data(manifest, folder)


def test_damaged_file(manifest: Manifest, folder: Path) -> None:
    path = folder / "images/b.nii.gz"
    path.write_bytes(path.read_bytes()[:-60])
    refused(manifest, folder, "images/b.nii.gz", "cannot be read")


@pytest.mark.parametrize("name", ["images/a.nii.gz", "images/b.nii.gz", "labels/d.nii.gz"])
def test_a_header_that_training_takes_otherwise(
    manifest: Manifest, folder: Path, name: str
) -> None:
    image = nibabel.load(folder / name)
    array = np.asarray(image.dataobj)
    for key, value, words in (
        ("pixdim", [1, 1.5, 1.5, 2.5, 0, 0, 0, 0], "contradict each other"),
        ("xyzt_units", 3, "lengths in micrometers"),
    ):
        header = image.header.copy()
        header[key] = value
        nibabel.save(nibabel.Nifti1Image(array, None, header), folder / name)
        refused(manifest, folder, name, words)


def test_the_cache_spares_reading_and_notices_a_change(
    manifest: Manifest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = checks.read_unambiguous
    monkeypatch.setattr(checks, "read_unambiguous", lambda path: opened.append(path) or read(path))
    for _ in range(2):
        check_training_data(manifest, folder, cache_dir=folder / "cache")
    assert len(opened) == 6
    time.sleep(0.01)
    wrong_values(folder)
    with pytest.raises(ManifestError, match="outside the classes"):
        check_training_data(manifest, folder, cache_dir=folder / "cache")
    with pytest.raises(ManifestError, match="outside the classes"):
        check_training_data(manifest, folder, cache_dir=folder / "cache")
    assert [path.name for path in opened[6:]] == ["a.nii.gz"]


def test_a_broken_cache_is_ignored(manifest: Manifest, folder: Path) -> None:
    (folder / "checked_volumes.json").write_text('{"version": 1, "facts": {"x": 3}}')
    check_training_data(manifest, folder, cache_dir=folder)


def test_digest_is_of_content_and_shape(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.int16)
    write(tmp_path / "a.nii", data.reshape(4, 3, 2))
    write(tmp_path / "b.nii.gz", data.reshape(4, 3, 2).astype(np.float32))
    write(tmp_path / "c.nii", data.reshape(2, 3, 4))
    digests = [image_facts(tmp_path / name).digest for name in ("a.nii", "b.nii.gz", "c.nii")]
    assert digests[0] == digests[1] != digests[2]


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.ones((4, 3, 2, 1), np.uint8))
    assert label_facts(tmp_path / "a.nii").shape == (4, 3, 2)
    assert label_facts(tmp_path / "a.nii").values == (1.0,)


@pytest.mark.slow
def test_the_left_atrium_at_1_25_mm_passes(shared: Path) -> None:
    folder = shared / "data" / "la_mini"
    ids = (folder / "train.list").read_text().split()
    manifest = parse_manifest(
        {
            "name": "la",
            "classes": {"0": "background", "1": "left atrium"},
            "image": "images/{case}.nii.gz",
            "label": "labels/{case}.nii.gz",
            "labeled": ids[:4],
            "unlabeled": ids[4:72],
            "validation": ids[72:],
        },
        "la.json",
    )
    check_training_data(manifest, folder)


def refused(manifest: Manifest, folder: Path, name: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        check_training_data(manifest, folder)
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "\n" not in message
    assert message.startswith(str(folder / name))
