"""Phantoms of molars are reproducible, whole, and as hard as they claim to be."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medsemi.data.checks import check_training_data
from medsemi.data.manifest import load_manifest
from medsemi.data.root_canal_phantom import (
    RootCanalPhantom,
    make_root_canal_phantom,
    make_root_canal_phantoms,
)
from medsemi.errors import DataError

SMALL = {"shape": (40, 40, 48), "spacing": (0.4, 0.4, 0.4)}
EVERY = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def cases() -> list[RootCanalPhantom]:
    return [make_root_canal_phantom(index, **SMALL) for index in range(6)]


def test_a_case_is_a_function_of_seed_and_index(cases: list[RootCanalPhantom]) -> None:
    again = make_root_canal_phantom(3, **SMALL)
    np.testing.assert_array_equal(again.image, cases[3].image)
    np.testing.assert_array_equal(again.label, cases[3].label)
    assert not np.array_equal(cases[3].label, cases[4].label)
    assert not np.array_equal(cases[3].label, make_root_canal_phantom(3, seed=1, **SMALL).label)


def test_the_anatomy_is_the_same_at_every_spacing() -> None:
    places = []
    for edges in ((0.4, 0.4, 0.4), (0.5, 0.4, 0.3)):
        shape = tuple(round(n / e) for n, e in zip((16, 16, 19.2), edges, strict=True))
        phantom = make_root_canal_phantom(0, shape=shape, spacing=edges)
        np.testing.assert_allclose(np.diag(phantom.affine)[:3], edges)
        line = phantom.canals["MB"]
        places.append(line @ phantom.affine[:3, :3].T + phantom.affine[:3, 3])
    np.testing.assert_allclose(*places, atol=1e-6)


def test_the_label_is_a_thin_whole_structure_in_the_dentine(cases: list[RootCanalPhantom]) -> None:
    for phantom in cases:
        label = phantom.label == 1
        assert 0.001 < label.mean() < 0.03
        assert ndimage.label(label, EVERY)[1] == 1
        assert phantom.tooth[label].mean() > 0.999
        assert 3 <= len(phantom.canals) <= 4
        for line in phantom.canals.values():
            voxels = np.round(line).astype(int)
            assert label[tuple(voxels.T)].all()


def test_pulp_volume_is_that_of_a_molar(cases: list[RootCanalPhantom]) -> None:
    volumes = [phantom.label.sum() * 0.4**3 for phantom in cases]
    assert 15 < np.median(volumes) < 70
    assert max(volumes) > 1.2 * min(volumes)


def test_grey_values_are_whole_bounded_and_not_calibrated(cases: list[RootCanalPhantom]) -> None:
    chamber, dentine = [], []
    for phantom in cases:
        assert phantom.image.dtype == np.int16
        assert -1000 <= phantom.image.min() < phantom.image.max() <= 3095
        label = phantom.label == 1
        inner = ndimage.binary_erosion(label)
        solid = ndimage.binary_erosion(phantom.tooth & ~ndimage.binary_dilation(label, EVERY))
        chamber.append(phantom.image[inner].mean())
        dentine.append(phantom.image[solid].mean())
        assert dentine[-1] - chamber[-1] > 400
    assert np.std(dentine) > 100


def test_a_thin_canal_nearly_vanishes_and_a_wide_one_does_not() -> None:
    """Contrast behind the blur is 1 − exp(−d²/(8σ²)) for a long canal of width d."""
    drops: dict[str, list[float]] = {"apex": [], "chamber": []}
    for index in range(4):
        phantom = make_root_canal_phantom(index, noise=(1.0, 1.0), neighbors=0, **SMALL)
        solid = ndimage.binary_erosion(phantom.tooth, EVERY)
        solid &= ~ndimage.binary_dilation(phantom.label, EVERY, 2)
        dentine = np.median(phantom.image[solid])
        inner = ndimage.binary_erosion(phantom.label, EVERY)
        deep = dentine - np.median(phantom.image[inner])
        for line in phantom.canals.values():
            tip = np.round(line[-25:]).astype(int)
            drops["apex"].append((dentine - np.median(phantom.image[tuple(tip.T)])) / deep)
        drops["chamber"].append(deep)
    assert np.median(drops["apex"]) < 0.6
    assert min(drops["chamber"]) > 500


def test_noise_can_be_set() -> None:
    images = [
        make_root_canal_phantom(0, noise=(level, level), neighbors=0, **SMALL).image.astype(float)
        for level in (1e-3, 100.0)
    ]
    assert 65 < (images[1] - images[0])[:, 15:, 20:30].std() < 135


def test_neighbors_have_canals_that_are_not_labeled() -> None:
    with_all, alone = (make_root_canal_phantom(2, neighbors=n, **SMALL) for n in (2, 0))
    np.testing.assert_array_equal(with_all.label, alone.label)
    different = np.abs(with_all.image.astype(float) - alone.image) > 700
    assert different[~with_all.tooth].sum() > 200


def test_poses_vary(cases: list[RootCanalPhantom]) -> None:
    axes = []
    for phantom in cases:
        line = next(iter(phantom.canals.values()))
        axes.append((line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0]))
    assert {np.sign(axis[2]) for axis in axes} == {-1.0, 1.0}
    assert np.std(np.array(axes)[:, :2], axis=0).min() > 0.1
    upright = make_root_canal_phantom(0, tilt=0.0, **SMALL)
    line = upright.canals["MB"]
    assert abs(line[-1] - line[0])[2] > 0.85 * np.linalg.norm(line[-1] - line[0])


def test_a_data_set_has_a_manifest_that_passes_the_checks(tmp_path: Path) -> None:
    manifest = make_root_canal_phantoms(
        tmp_path, 4, (36, 36, 40), (0.4, 0.4, 0.45), labeled=1, validation=1, test=1
    )
    assert load_manifest(tmp_path / "manifest.json") == manifest
    check_training_data(manifest, tmp_path)
    assert manifest.classes == {0: "background", 1: "root canal"}
    counts = [len(manifest.cases(r)) for r in ("labeled", "unlabeled", "validation", "test")]
    assert counts == [1, 1, 1, 1]
    image = nibabel.load(tmp_path / manifest.test[0].image)
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.header.get_zooms(), (0.4, 0.4, 0.45), rtol=1e-6)
    phantom = make_root_canal_phantom(3, shape=(36, 36, 40), spacing=(0.4, 0.4, 0.45))
    np.testing.assert_array_equal(np.asarray(image.dataobj), phantom.image)


@pytest.mark.parametrize(
    "options", [{"shape": (32, 40, 48)}, {"neighbors": 3}, {"spacing": (0.3, 0.4, 0.4)}]
)
def test_too_small_a_volume_is_refused(options: dict) -> None:
    with pytest.raises(DataError, match="a molar needs"):
        make_root_canal_phantom(0, **{**SMALL, **options})
