"""A copy is found whatever was done to its file; other patients are not taken for copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from medsemi.data.likeness import (
    EDGE,
    SAME_DETAILS,
    SAME_IMAGE,
    detail_agreement,
    find_alike,
    thumbnail,
)
from medsemi.data.reading import read_volume


def scene(seed: int, shape: tuple[int, ...] = (44, 40, 36)) -> np.ndarray:
    """Shared anatomy (a bright ball), and structures that differ from patient to patient."""
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    ball = 2.0 * (sum(axis**2 for axis in grid) < 0.5)
    own = gaussian_filter(generator.normal(size=shape), 2.0)
    return (ball + own / own.std()).astype(np.float32)


def cropped(image: np.ndarray) -> np.ndarray:
    return image[2:-2, 1:, :-3]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "resampled": lambda image: zoom(image, (0.7, 1.1, 0.8), order=1),
    "cropped": cropped,
    "gain, offset and type": lambda image: np.round(40 * image + 300).astype(np.int16),
    "flipped": lambda image: image[::-1, :, ::-1],
    "axes exchanged": lambda image: image.transpose(2, 0, 1)[:, ::-1],
    "cropped and flipped": lambda image: cropped(image)[:, ::-1],
    "clipped": lambda image: np.clip(image, *np.percentile(image, [10, 95])),
    "padded": lambda image: np.pad(image, 9, constant_values=-7),
    "noisy": lambda image: image + np.random.default_rng(1).normal(0, 0.2, image.shape),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_the_same_image(name: str) -> None:
    images = [scene(0), scene(1), CHANGES[name](scene(0))]
    found = find_alike([thumbnail(image) for image in images], ["labeled", "labeled", "test"])
    assert [(pair.first, pair.second) for pair in found] == [(0, 2)]
    assert found[0].likeness >= SAME_IMAGE
    assert detail_agreement(images[0], images[2]) >= SAME_DETAILS


def body(seed: int, noise: float) -> np.ndarray:
    """A patient in CT: one outline, one spine and one field of view; the organs are each one's own."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (72, 72, 32)), indexing="ij")
    values = np.full(x.shape, -1000.0)
    values[(x / 0.85) ** 2 + (y / 0.6) ** 2 < 1] = 40
    values[x**2 + (y - 0.35) ** 2 < 0.012] = 600
    for side in (-1, 1):
        radius = (0.2, 0.2, 0.5) * random.uniform(0.8, 1.2, 3)
        places = zip((x, y, z), random.normal((0.4 * side, -0.05, 0), 0.06), radius, strict=True)
        organ = sum(((axis - center) / edge) ** 2 for axis, center, edge in places) < 1
        values[organ] = random.uniform(100, 160)
    values += random.normal(0, noise, x.shape)
    values[x**2 + y**2 > 1] = -1024
    return np.round(values).astype(np.int16)


@pytest.mark.parametrize("noise", [0, 15])
def test_an_outline_alone_makes_no_copy(noise: float) -> None:
    first, *others = (body(seed, noise) for seed in range(3))
    for other in others:
        pair = find_alike([thumbnail(first), thumbnail(other)], ["unlabeled", "test"])
        assert pair[0].likeness >= SAME_IMAGE  # of the outline
        assert detail_agreement(first, other) < SAME_DETAILS
    for copied in (first[::-1] / 2.0 + 7, zoom(first.astype(np.float32), 0.8, order=1)):
        assert detail_agreement(first, copied) >= SAME_DETAILS


def test_other_patients_are_not_alike() -> None:
    small = [thumbnail(scene(seed)) for seed in range(6)]
    assert find_alike(small, list("abcdef")) == []


def test_pairs_within_a_group_are_not_looked_at() -> None:
    assert find_alike([thumbnail(scene(0))] * 2, ["test", "test"]) == []


def test_a_thumbnail_holds_no_gain_and_offset() -> None:
    image = scene(3)
    assert thumbnail(image).shape == (EDGE, EDGE, EDGE)
    np.testing.assert_array_equal(thumbnail(image), thumbnail(4 * image - 8))


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 20)])
def test_what_is_too_small_or_flat_is_like_nothing(shape: tuple[int, ...]) -> None:
    tiny = thumbnail(np.random.default_rng(0).normal(size=shape))
    assert tiny.size == 0
    flat = thumbnail(np.ones((20, 20, 20)))
    assert find_alike([tiny, tiny, flat, flat], list("abcd")) == []
    assert detail_agreement(np.ones((20, 20, 20)), np.ones((20, 20, 20))) == -1


def test_a_slice_is_compared_too() -> None:
    image = scene(0, (80, 70, 3))[..., 1]
    other = scene(1, (80, 70, 3))[..., 1]
    found = find_alike([thumbnail(i) for i in (image, other, image[3:, 2:])], list("abc"))
    assert [(pair.first, pair.second) for pair in found] == [(0, 2)]
    assert detail_agreement(image, image[3:, 2:]) >= SAME_DETAILS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("la_mini", {("0RZDK210BSMWAA6467LU", "CMPXO4J23G58J53Q98SZ")}),
        ("acdc_mini", {("patient074", "patient076")}),
    ],
)
def test_public_hearts_hold_one_image_twice_and_no_more(
    shared: Path, name: str, known: set[tuple[str, str]]
) -> None:
    """The pair of `acdc_mini` has equal voxels; that of `la_mini` equal noise, half a voxel apart."""
    paths = sorted((shared / "data" / name / "images").glob("*.nii.gz"))
    patients = [path.name.removesuffix(".nii.gz").partition("_frame")[0] for path in paths]
    found = find_alike([thumbnail(read_volume(path)[0]) for path in paths], patients)
    same = {(f.first, f.second) for f in found if f.likeness >= SAME_IMAGE}
    assert {tuple(sorted((patients[i], patients[j]))) for i, j in same} == known
    # Of hearts, two phases may be alike as a whole; their details are not.
    pairs = [[read_volume(paths[index])[0] for index in pair] for pair in same]
    assert max(detail_agreement(*pair) for pair in pairs) >= SAME_DETAILS
