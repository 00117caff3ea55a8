"""Folders of nnU-Net and the decathlon are taken as they are; five wrong inputs are one sentence."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medsemi.data.manifest import load_manifest

SHAPE = (20, 18, 16)
NNUNET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "ventricle": 1, "wall": 2}}
MSD = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "ventricle", "2": "wall"}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "make_manifest.py"
    spec = importlib.util.spec_from_file_location("make_manifest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def fill(folder: Path, images: str, labels: str, document: dict | None) -> None:
    """Eight images, of which the last two have no label."""
    for number in range(8):
        values = np.random.default_rng(number).normal(size=SHAPE)
        image = gaussian_filter(values, 1.5).astype(np.float32)
        save(folder / f"{images.format(number)}.nii.gz", image)
        if number < 6:
            label = (image > 0).astype(np.uint8) + (image > 0.2)
            save(folder / f"{labels.format(number)}.nii.gz", label)
    if document:
        (folder / "dataset.json").write_text(json.dumps(document))


def start(script: ModuleType, folder: Path, *options: str) -> int:
    line = [str(folder), "--output", str(folder / "m.json"), "--one-case-per-patient", *options]
    result: int = script.main(line)
    return result


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (NNUNET, "MR"),
        (NNUNET | {"channel_names": {"0": "CT"}}, "CT"),
        (MSD, "MR"),
        (MSD | {"modality": {"0": "ct"}}, "CT"),
        (NNUNET | {"channel_names": {"0": "T2"}}, ""),
        (NNUNET | {"channel_names": ["CT"]}, ""),
    ],
)
def test_the_modality_of_the_data_set_is_kept(
    script: ModuleType, tmp_path: Path, document: dict, expected: str
) -> None:
    fill(tmp_path, "imagesTr/a{}_0000", "labelsTr/a{}", document)
    assert start(script, tmp_path, "--names-only") == 0
    assert load_manifest(tmp_path / "m.json").modality == expected


@pytest.mark.parametrize(
    ("images", "labels", "document"),
    [
        ("imagesTr/scan_{:03d}_0000", "labelsTr/scan_{:03d}", NNUNET),
        ("imagesTr/scan_{:03d}", "labelsTr/scan_{:03d}", MSD),
        ("imagesTr/scan_{:04d}", "labelsTr/scan_{:04d}", MSD),
        ("images/scan_{:03d}", "labels/scan_{:03d}", NNUNET),
    ],
)
def test_a_layout_is_taken_as_it_is(
    script: ModuleType, tmp_path: Path, images: str, labels: str, document: dict
) -> None:
    fill(tmp_path, images, labels, document)
    assert start(script, tmp_path, "--validation", "1", "--test", "1") == 0
    manifest = load_manifest(tmp_path / "m.json")
    assert manifest.classes == {0: "background", 1: "ventricle", 2: "wall"}
    assert [len(manifest.cases(r)) for r in ("labeled", "unlabeled", "validation", "test")] == [
        *(4, 2, 1, 1)
    ]
    for case in manifest.unlabeled:
        assert case.image == Path(f"{images.format(int(case.case_id.split('_')[1]))}.nii.gz")
    assert start(script, tmp_path, "--overwrite", "--labeled", "2") == 0
    assert len(load_manifest(tmp_path / "m.json").unlabeled) == 6


def test_images_ts_are_left_out_unless_a_role_is_given(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "imagesTr/scan_{}_0000", "labelsTr/scan_{}", NNUNET)
    other = gaussian_filter(np.random.default_rng(99).normal(size=SHAPE), 1.5)
    save(tmp_path / "imagesTs/late_1_0000.nii.gz", other.astype(np.float32))
    assert start(script, tmp_path, "--labeled", "2") == 0
    assert "imagesTs: 1 images left out" in capsys.readouterr().out
    assert start(script, tmp_path, "--overwrite", "--images-ts", "unlabeled") == 0
    assert "late_1" in {case.case_id for case in load_manifest(tmp_path / "m.json").unlabeled}
    assert start(script, tmp_path, "--overwrite", "--images-ts", "test") == 2
    assert "has no label in labelsTs" in capsys.readouterr().err


def test_held_out_images_are_named_as_those_of_the_training_are(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of AMOS: a number in each, as a channel would be, and no labelsTs."""
    fill(tmp_path, "imagesTr/amos_{:04d}", "labelsTr/amos_{:04d}", NNUNET)
    for number in (101, 102):
        other = gaussian_filter(np.random.default_rng(number).normal(size=SHAPE), 1.5)
        save(tmp_path / f"imagesTs/amos_{number:04d}.nii.gz", other.astype(np.float32))
    assert start(script, tmp_path, "--labeled", "2") == 0
    assert "imagesTs: 2 images left out" in capsys.readouterr().out
    assert start(script, tmp_path, "--overwrite", "--images-ts", "unlabeled") == 0
    found = {case.case_id for case in load_manifest(tmp_path / "m.json").unlabeled}
    assert {"amos_0101", "amos_0102"} < found


def test_held_out_images_are_not_looked_at_unasked(script: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, "imagesTr/scan_{}_0000", "labelsTr/scan_{}", NNUNET)
    for name in ("other_0000", "other_0001"):
        save(tmp_path / f"imagesTs/{name}.nii.gz", np.zeros(SHAPE, np.float32))
    options = (
        "--patient-regex",
        r"scan_\d",
        "--labeled",
        "2",
        "--output",
        str(tmp_path / "o.json"),
    )
    assert script.main([str(tmp_path), *options]) == 0


@pytest.mark.parametrize(
    "places", [(), ("--images", "imagesTr/{case}_0000", "--labels", "labelsTr/{case}")]
)
def test_classes_that_are_given_overrule_those_of_the_file(
    script: ModuleType, tmp_path: Path, places: tuple[str, ...]
) -> None:
    fill(tmp_path, "imagesTr/scan_{}_0000", "labelsTr/scan_{}", NNUNET)
    regions(tmp_path)
    assert start(script, tmp_path, "--classes", "left", "right", *places) == 0
    assert load_manifest(tmp_path / "m.json").classes == {0: "background", 1: "left", 2: "right"}


def other_values(folder: Path) -> None:
    save(folder / "labelsTr/scan_0.nii.gz", np.full(SHAPE, 9, np.uint8))


def two_channels(folder: Path) -> None:
    save(folder / "imagesTr/scan_0_0001.nii.gz", np.zeros(SHAPE, np.float32))


def two_channels_in_a_file(folder: Path) -> None:
    save(folder / "imagesTr/scan_0_0000.nii.gz", np.zeros((*SHAPE, 2), np.float32))


def other_affine(folder: Path) -> None:
    label = np.zeros(SHAPE, np.uint8)
    save(folder / "labelsTr/scan_0.nii.gz", label, np.diag([2.0, 1.0, 1.0, 1.0]))


def no_labels(folder: Path) -> None:
    for path in (folder / "labelsTr").iterdir():
        path.unlink()


def misnamed_label(folder: Path) -> None:
    (folder / "labelsTr/scan_0.nii.gz").rename(folder / "labelsTr/scan_0_seg.nii.gz")


def empty(folder: Path) -> None:
    for name in ("imagesTr", "labelsTr"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()


def no_images(folder: Path) -> None:
    for name in ("imagesTr", "labelsTr"):
        for path in (folder / name).iterdir():
            path.unlink()


def regions(folder: Path) -> None:
    labels = {"background": 0, "heart": [1, 2], "wall": 2}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def copied(folder: Path) -> None:
    image = nibabel.load(folder / "imagesTr/scan_1_0000.nii.gz").get_fdata()
    for number in (0, 2, 3, 4, 5):
        flipped = np.ascontiguousarray(image[::-1]).astype(np.float32)
        save(folder / f"imagesTr/scan_{number}_0000.nii.gz", flipped)


@pytest.mark.parametrize("name", ["images/late.nrrd", "labels/scan_006.MHA"])
def test_what_training_cannot_read_is_refused_with_the_command_that_converts_it(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    fill(tmp_path, "images/scan_{:03d}", "labels/scan_{:03d}", NNUNET)
    (tmp_path / name).touch()
    assert start(script, tmp_path, "--names-only") == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{tmp_path / name}: training reads NIfTI alone")
    assert f"ReadImage('a{Path(name).suffix}'), 'a.nii.gz')" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "options", [(), ("--images", "imagesTr/{case}_0000", "--labels", "labelsTr/{case}")]
)
def test_a_role_for_images_that_are_not_found_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    fill(tmp_path, "imagesTr/scan_{}_0000", "labelsTr/scan_{}", NNUNET)
    assert start(script, tmp_path, "--labeled", "2", "--images-ts", "test", *options) == 2
    assert "--images-ts needs a folder imagesTs" in capsys.readouterr().err
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_values, "values {9} outside the classes [0, 1, 2]"),
        (two_channels, "'scan_0' has 2 channels"),
        (two_channels_in_a_file, "the image has 2 channels"),
        (other_affine, "the affine differs"),
        (no_labels, "no image has a label file"),
        (misnamed_label, "this label has no image"),
        (empty, "holds neither images/ nor imagesTr/"),
        (no_images, "no image matches"),
        (regions, "regions are not supported"),
        (copied, "keep it in one subset"),
    ],
)
def test_wrong_input_is_one_sentence(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    fill(tmp_path, "imagesTr/scan_{}_0000", "labelsTr/scan_{}", NNUNET)
    spoil(tmp_path)
    assert start(script, tmp_path, "--labeled", "2", "--validation", "2", "--test", "2") == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "m.json").exists()
