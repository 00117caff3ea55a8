"""Prepared volumes: right, never stale, never half written."""

from __future__ import annotations

import json
import operator
import pickle
import resource
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
    SpatialCropd,
)

from medsemi.data.manifest import Case
from medsemi.data.slices import slices
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume, VolumeStore, describe
from medsemi.errors import DataError

KEYS = ["image", "label"]


def transforms(top: float = 1.0, spacing: float | None = None) -> Compose:
    steps = [
        LoadImaged(KEYS, allow_missing_keys=True),
        EnsureChannelFirstd(KEYS, allow_missing_keys=True),
        ScaleIntensityRanged("image", 0.0, 1.0, 0.0, top),
    ]
    if spacing:
        modes = ("bilinear", "nearest")
        steps.append(Spacingd(KEYS, (spacing,) * 3, mode=modes, allow_missing_keys=True))
    return Compose(steps)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    image = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "image.nii.gz")
    label = (image > 0.5).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
    return tmp_path


CASE = Case("one", "one", Path("image.nii.gz"), Path("label.nii.gz"))


def test_a_volume_is_what_the_transforms_make(data: Path) -> None:
    volume = VolumeStore(data, transforms(top=2.0), data / "cache").volume(CASE, True)
    image = nibabel.load(data / "image.nii.gz").get_fdata()
    np.testing.assert_allclose(volume.image[0], 2 * image, rtol=1e-6)
    np.testing.assert_array_equal(volume.label, image > 0.5)
    assert volume.spacing == pytest.approx((1.0, 2.0, 3.0))
    assert isinstance(volume.image, np.memmap)
    assert volume.label.dtype == np.uint8


def test_resampling_changes_the_affine(data: Path) -> None:
    volume = VolumeStore(data, transforms(spacing=2.0), data / "cache").volume(CASE, True)
    assert volume.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert volume.image.shape[1:] == volume.label.shape
    assert set(np.unique(volume.label)) <= {0, 1}


def turned(angle: float = 135.0) -> np.ndarray:
    """A short-axis plane: at 135 degrees, two axes are equally near to right and front."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    affine = np.diag([1.25, 1.25, 10, 1])
    affine[:2, :2] = 1.25 * np.array([[cosine, -sine], [sine, cosine]])
    return affine


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """Image and label of one grid: one affine, which the headers round differently."""
    image = np.random.default_rng(0).random((6, 6, 4)).astype(np.float32)
    whole = nibabel.Nifti1Image(image, turned())
    nibabel.save(whole, tmp_path / "image.nii.gz")
    label = nibabel.Nifti1Image((image > 0.5).astype(np.uint8), None)
    label.set_qform(turned(), 1)
    label.set_sform(None, 0)
    nibabel.save(label, tmp_path / "label.nii.gz")
    return tmp_path


ORIENTED = [
    LoadImaged(KEYS, allow_missing_keys=True),
    EnsureChannelFirstd(KEYS, allow_missing_keys=True),
    Orientationd(KEYS, axcodes="RAS", labels=None, allow_missing_keys=True),
]


@pytest.mark.parametrize("spacing", [None, 2.0])
def test_a_label_is_oriented_as_its_image(doubtful: Path, spacing: float | None) -> None:
    """By its own affine, which differs by some rounding, it would be turned by a quarter."""
    codes = [nibabel.aff2axcodes(nibabel.load(doubtful / f"{name}.nii.gz").affine) for name in KEYS]
    assert codes[0] != codes[1]
    steps = [*ORIENTED]
    if spacing:
        steps.append(Spacingd(KEYS, (spacing,) * 3, mode=("nearest", "nearest")))
    store = VolumeStore(doubtful, Compose(steps), doubtful / "cache")
    (reference,) = store.references([CASE]) or (store.volume(CASE, True),)
    for volume in (store.volume(CASE, True), reference):
        np.testing.assert_array_equal(volume.label, volume.image[0] > 0.5)


def oriented_apart(data: dict[str, Any]) -> Any:
    return Compose(ORIENTED)(data)


def test_a_label_that_lies_elsewhere_than_its_image_is_refused(doubtful: Path) -> None:
    """Transforms of a user's own, which the store cannot stop after loading."""
    with pytest.raises(
        DataError, match=r"label\.nii\.gz: lies elsewhere than its image"
    ) as refused:
        VolumeStore(doubtful, oriented_apart, doubtful / "cache").volume(CASE, True)
    assert "\n" not in str(refused.value)
    assert not list((doubtful / "cache").glob("*"))


def test_files_that_are_stored_along_other_axes_meet(data: Path) -> None:
    label = nibabel.load(data / "label.nii.gz")
    flipped = label.as_reoriented([[0, -1], [1, 1], [2, 1]])
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(flipped.dataobj), flipped.affine), data / "label.nii.gz"
    )
    store = VolumeStore(data, Compose(ORIENTED), data / "cache")
    volume = store.volume(CASE, True)
    np.testing.assert_array_equal(volume.label, volume.image[0] > 0.5)


def test_what_is_not_finite_after_preparation_is_refused(data: Path) -> None:
    image = nibabel.load(data / "image.nii.gz")
    voxels = image.get_fdata(dtype=np.float32)
    voxels[0] = -3.4028e38
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), data / "image.nii.gz")
    normalizing = Compose([transforms(), NormalizeIntensityd("image")])
    with pytest.raises(
        DataError, match=r"image\.nii\.gz: its .* fill values such as -3\.4e38 have to"
    ):
        VolumeStore(data, normalizing, data / "cache").volume(CASE, True)
    assert not list((data / "cache").glob("*"))


@pytest.mark.parametrize("value", [1.0005, 0.9995])
def test_labels_near_a_whole_number_are_that_number(data: Path, value: float) -> None:
    label = nibabel.load(data / "label.nii.gz")
    scaled = value * label.get_fdata(dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(scaled, label.affine), data / "label.nii.gz")
    volume = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    np.testing.assert_array_equal(volume.label, volume.image[0] > 0.5)


@pytest.mark.parametrize("value", [0.5, 256, -1, np.nan])
def test_labels_that_are_no_class_after_preparation_are_refused(data: Path, value: float) -> None:
    voxels = np.full((6, 5, 4), value, np.float32)
    affine = nibabel.load(data / "label.nii.gz").affine
    nibabel.save(nibabel.Nifti1Image(voxels, affine), data / "label.nii.gz")
    with pytest.raises(
        DataError, match=r"label\.nii\.gz: its preparation gives values that are no"
    ):
        VolumeStore(data, transforms(), data / "cache").volume(CASE, True)


def test_an_unlabeled_case_needs_no_label_file(data: Path) -> None:
    (data / "label.nii.gz").unlink()
    store = VolumeStore(data, transforms(), data / "cache")
    assert store.volume(CASE, False).label is None
    assert not list((data / "cache").glob("*.label.npy"))


def test_nothing_stale_is_served(data: Path) -> None:
    first = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    other = VolumeStore(data, transforms(top=5.0), data / "cache").volume(CASE, True)
    assert other.image.max() > 4 * first.image.max()
    again = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    assert again.image_file == first.image_file
    image = nibabel.load(data / "image.nii.gz")
    changed = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.float32), image.affine)
    nibabel.save(changed, data / "image.nii.gz")
    assert not VolumeStore(data, transforms(), data / "cache").volume(CASE, True).image.any()


@pytest.mark.parametrize("library", ["monai", "nibabel", "numpy", "torch"])
def test_nothing_of_another_version_of_a_library_is_served(
    data: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    first = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    monkeypatch.setattr(
        "medsemi.data.volumes.version", lambda name: "99.0" if name == library else version(name)
    )
    other = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    assert other.image_file != first.image_file


def test_no_stale_label_is_served(data: Path) -> None:
    """Neither that of another label file, nor none because the case was unlabeled before."""
    store = VolumeStore(data, transforms(), data / "cache")
    assert store.volume(CASE, False).label is None
    assert store.volume(CASE, True).label.any()
    label = nibabel.load(data / "label.nii.gz")
    changed = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), label.affine)
    nibabel.save(changed, data / "label.nii.gz")
    assert not store.volume(CASE, True).label.any()


def test_what_is_half_written_is_made_again(data: Path) -> None:
    store = VolumeStore(data, transforms(), data / "cache")
    volume = store.volume(CASE, True)
    expected = np.array(volume.image)
    (description,) = (data / "cache").glob("*.json")
    description.unlink()
    volume.image_file.write_bytes(b"half")
    np.testing.assert_array_equal(store.volume(CASE, True).image, expected)


def test_a_worker_maps_the_file_itself(data: Path) -> None:
    volume = VolumeStore(data, transforms(), data / "cache").volume(CASE, True)
    assert volume.image.size
    sent = pickle.dumps(volume)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).image, volume.image)


def test_there_may_be_more_cases_than_a_process_may_open_files(tmp_path: Path) -> None:
    volumes = []
    for number in range(300):
        np.save(tmp_path / f"{number}.npy", np.full((1, 2, 2, 2), number, np.float32))
        volumes.append(Volume(str(number), tmp_path / f"{number}.npy", None, np.eye(4)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        for _ in range(2):
            assert [int(v.image[0, 0, 0, 0]) for v in volumes] == list(range(300))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("content", [None, b"not an image"])
def test_a_file_that_cannot_be_read_is_named(data: Path, content: bytes | None) -> None:
    (data / "image.nii.gz").unlink()
    if content:
        (data / "image.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"image\.nii\.gz cannot be"):
        VolumeStore(data, transforms(), data / "cache").volume(CASE, True)


def test_every_setting_of_a_transform_is_in_its_description() -> None:
    """Spacings are kept as arrays; others must not be served from the cache."""
    one, other, again = (
        json.dumps(describe(Compose([Spacingd("image", pixdim=edges)])))
        for edges in ([1, 1, 1], [2, 2, 3], [1, 1, 1])
    )
    assert one != other
    assert one == again
    assert describe(partial(int, base=2)) != describe(partial(int, base=3))
    with pytest.raises(DataError, match="lambda"):
        describe(lambda data: data)


class Slotted:
    __slots__ = ("edge",)

    def __init__(self, edge: int) -> None:
        self.edge = edge


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.own = self.apply

    def apply(self, image: np.ndarray) -> np.ndarray:
        return image * self.factor


@pytest.mark.parametrize(
    ("one", "other", "again"),
    [
        [SpatialCropd("image", roi_slices=[slice(0, edge)] * 3) for edge in (32, 64, 32)],
        [CastToTyped("image", dtype=kind) for kind in (torch.int16, torch.float32, torch.int16)],
        [CastToTyped("image", dtype=kind) for kind in (np.int16, np.float32, np.int16)],
        [partial(int, Path(name)) for name in ("a", "b", "a")],
        [Lambdad("image", func=Scale(factor).apply) for factor in (1.0, 2.0, 1.0)],
        [Slotted(edge) for edge in (1, 2, 1)],
        (partial(np.clip, a_max=len), partial(np.clip, a_max=abs), partial(np.clip, a_max=len)),
        (np.add, np.abs, np.add),
    ],
)
def test_settings_of_every_kind_are_told_apart(one: object, other: object, again: object) -> None:
    assert json.dumps(describe(one)) != json.dumps(describe(other))
    assert json.dumps(describe(one)) == json.dumps(describe(again))


def defined(source: str, module: str = "own") -> Callable[..., Any]:
    """What a user's module would hold as `norm` after an edit."""
    names: dict[str, Any] = {"__name__": module, "np": np}
    exec(source, names)  # noqa: S102 - as an import would
    return names["norm"]


SCALING = """
def made({}):
    def norm(image{}):
        return [voxel * {} for voxel in image]
    return norm
norm = made({})
"""
CLASS = """
class Norm:
    def __call__(self, data):
        return {}
norm = Norm()
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def norm(x): return x * 2", "def norm(x): return x * 3"),
        ("def norm(x): return x * 2", "def norm(x): return x * 2.0"),
        ("def norm(x): return x * 2", "def norm(x): return x + 2"),
        ("def norm(x): return np.abs(x)", "def norm(x): return np.sign(x)"),
        ("def norm(x): return [v * 2 for v in x]", "def norm(x): return [v * 3 for v in x]"),
        ("def norm(x, by=2): return x * by", "def norm(x, by=3): return x * by"),
        ("def norm(x, *, by=2): return x * by", "def norm(x, *, by=3): return x * by"),
        (SCALING.format("by", "", "by", 2), SCALING.format("by", "", "by", 3)),
        (CLASS.format("data"), CLASS.format("None")),
        (CLASS.format("data") + "norm = norm.__call__", CLASS.format("0") + "norm = norm.__call__"),
    ],
)
def test_what_a_user_edits_is_told_apart(one: str, other: str) -> None:
    """The name stays, and no setting tells of it."""
    before, after, again = (
        json.dumps(describe(Compose([Lambdad("image", func=defined(source))])))
        for source in (one, other, one)
    )
    assert before != after
    assert before == again


@pytest.mark.parametrize(
    "source", ["def norm(x): return x", CLASS.format("data"), "class norm: ..."]
)
def test_the_same_name_in_another_module_is_another_one(source: str) -> None:
    one, other = (json.dumps(describe(defined(source, module))) for module in ("own", "other"))
    assert one != other


def test_a_function_that_calls_itself_is_described() -> None:
    source = "def made():\n    def norm(x): return norm(x)\n    return norm\nnorm = made()"
    assert json.dumps(describe(defined(source))) == json.dumps(describe(defined(source)))


def test_what_hides_its_settings_is_refused() -> None:
    with pytest.raises(DataError, match="the settings of a itemgetter in the transforms cannot"):
        describe(Compose([operator.itemgetter(1)]))


@pytest.fixture
def lesion(data: Path) -> Path:
    """Two labeled cases of 1 mm, each with a lesion of two slices."""
    for name in ("one", "two"):
        label = np.zeros((12, 12, 30), np.uint8)
        label[2:10, 2:10, 2:28] = 1
        label[4:8, 4:8, 12:14] = 2
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), data / f"{name}_label.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label / 2.0, np.eye(4)), data / f"{name}.nii.gz")
    return data


def lesion_cases() -> list[Case]:
    return [Case(n, n, Path(f"{n}.nii.gz"), Path(f"{n}_label.nii.gz")) for n in ("one", "two")]


def test_a_class_that_resampling_loses_is_told_at_each_start(
    lesion: Path, caplog: pytest.LogCaptureFixture, told: Callable[[str], list[str]]
) -> None:
    for _ in range(2):
        caplog.clear()
        store = VolumeStore(lesion, transforms(spacing=5.0), lesion / "cache")
        (volume, _) = store.volumes(lesion_cases(), True)
        assert volume.lost_classes == (2,)
        first, second = told("medsemi.data.volumes")
        assert "one_label.nii.gz: the classes [2] have no voxel left" in first
        assert "two_label.nii.gz" in second
    caplog.clear()
    for kept in (transforms(spacing=1.5), transforms()):
        volumes = VolumeStore(lesion, kept, lesion / "cache").volumes(lesion_cases(), True)
        assert [volume.lost_classes for volume in volumes] == [(), ()]
    assert (
        not VolumeStore(lesion, transforms(spacing=5.0), lesion / "cache")
        .volume(lesion_cases()[0], False)
        .lost_classes
    )
    assert told("medsemi.data.volumes") == []


def test_classes_that_the_preparation_itself_merges_are_not_lost(
    lesion: Path, told: Callable[[str], list[str]]
) -> None:
    merge = Lambdad("label", partial(np.minimum, 1), allow_missing_keys=True)
    steps = [*transforms().transforms, merge, transforms(spacing=5.0).transforms[-1]]
    (volume, _) = VolumeStore(lesion, Compose(steps), lesion / "cache").volumes(
        lesion_cases(), True
    )
    assert volume.lost_classes == ()
    assert told("medsemi.data.volumes") == []


def test_a_training_without_a_voxel_of_a_class_is_refused(lesion: Path) -> None:
    store = VolumeStore(lesion, transforms(spacing=5.0), lesion / "cache")
    one, two = store.volumes(lesion_cases(), True)
    settings: dict[str, Any] = {"labeled_windows": 1, "unlabeled_windows": 0, "seed": 0}
    with pytest.raises(DataError, match=r"no labeled case has a voxel of the classes \[2\] left"):
        StepStream([one, two], [], window=(2, 2, 4), **settings)
    (kept, _) = VolumeStore(lesion, transforms(), lesion / "cache").volumes(lesion_cases(), True)
    StepStream([one, kept], [], window=(2, 2, 4), **settings)
    with pytest.raises(DataError, match="give a finer spacing"):
        StepStream(slices([one, two]), [], window=(2, 2), **settings)
