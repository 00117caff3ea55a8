"""One image in two roles stops a training in one sentence, also where its file was changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medsemi.data.checks import check_all_data, check_training_data
from medsemi.data.leaks import Seen, refuse_copies
from medsemi.data.manifest import Manifest, parse_manifest
from medsemi.errors import ManifestError

SHAPE = (22, 20, 18)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for case in "abcd":
        image = gaussian_filter(generator.normal(size=SHAPE), 1.5).astype(np.float32)
        write(tmp_path / f"images/{case}.nii.gz", image)
        write(tmp_path / f"labels/{case}.nii.gz", (image > 0).astype(np.uint8))
    return tmp_path


@pytest.fixture
def manifest() -> Manifest:
    roles = {"labeled": ["a"], "unlabeled": ["b"], "validation": ["c"], "test": ["d"]}
    patterns = {"image": "images/{case}.nii.gz", "label": "labels/{case}.nii.gz"}
    classes = {"0": "background", "1": "organ"}
    return parse_manifest({"name": "m", "classes": classes, **patterns, **roles}, "m.json")


def copy(folder: Path, source: str, target: str) -> None:
    """Flipped, cropped by one plane, and in another intensity and type."""
    image = nibabel.load(folder / f"images/{source}.nii.gz").get_fdata()
    changed = np.round(900 * image[::-1, 1:] + 100).astype(np.int16)
    write(folder / f"images/{target}.nii.gz", changed)
    write(folder / f"labels/{target}.nii.gz", (changed > 100).astype(np.uint8))


@pytest.mark.parametrize(("source", "target"), [("a", "c"), ("b", "c")])
def test_a_changed_copy_in_validation_is_refused(
    manifest: Manifest, folder: Path, source: str, target: str
) -> None:
    copy(folder, source, target)
    for _ in range(2):
        with pytest.raises(ManifestError) as caught:
            check_training_data(manifest, folder, cache_dir=folder / "cache")
        sentence = str(caught.value)
        assert f"images/{source}.nii.gz" in sentence
        assert f"images/{target}.nii.gz: this validation image shows the same" in sentence
        assert "\n" not in sentence


def test_a_copy_in_the_test_list_is_found_by_who_may_open_it(
    manifest: Manifest, folder: Path
) -> None:
    copy(folder, "b", "d")
    check_training_data(manifest, folder)
    with pytest.raises(ManifestError, match="this test image shows the same as the unlabeled"):
        check_all_data(manifest, folder)


def test_a_copy_among_what_is_trained_on_is_told(
    manifest: Manifest, folder: Path, told: Callable[[str], list[str]]
) -> None:
    copy(folder, "a", "b")
    check_training_data(manifest, folder)
    (message,) = told("medsemi.data.leaks")
    assert "this unlabeled image may show the same as the labeled image" in message


def test_different_images_pass_without_a_word(
    manifest: Manifest, folder: Path, told: Callable[[str], list[str]]
) -> None:
    check_all_data(manifest, folder)
    assert told("medsemi.data.leaks") == []


def test_patients_of_one_outline_are_told_and_not_refused(
    manifest: Manifest,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In CT the body and its field of view are alike; what is within is not."""
    random = np.random.default_rng(0)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 40, 20)), indexing="ij")
    for case in "abcd":
        image = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 40.0, -1000.0)
        image += random.normal(0, 15, x.shape)
        write(folder / f"images/{case}.nii.gz", image.astype(np.int16))
        write(folder / f"labels/{case}.nii.gz", (image > 0).astype(np.uint8))
    check_all_data(manifest, folder, folder / "cache")
    assert (
        f"{folder / 'images/d.nii.gz'}: this test image may be of the same patient as"
        in caplog.text
    )
    monkeypatch.setattr("medsemi.data.checks.files_agreement", None)  # it is remembered
    check_all_data(manifest, folder, folder / "cache")


def test_of_many_images_that_are_alike_ten_pairs_are_named(
    told: Callable[[str], list[str]],
) -> None:
    random = np.random.default_rng(0)
    outline = np.zeros((24, 24, 24))
    outline[4:20, 6:18] = 200
    small = [(outline + random.normal(0, 1, outline.shape)).clip(0, 255) for _ in range(30)]
    images = [
        Seen(("unlabeled", "test")[n % 2], Path(f"{n}"), one.astype(np.uint8))
        for n, one in enumerate(small)
    ]
    refuse_copies(images, lambda first, second: 0.1)
    messages = told("medsemi.data.leaks")
    assert len(messages) == 11
    assert "pairs more of images in two roles are this alike" in messages[-1]
