"""Phantoms are reproducible, and as hard as they claim to be."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medsemi.data.checks import check_training_data
from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantom, make_phantoms
from medsemi.errors import DataError

CASES = range(12)


def test_a_case_is_a_function_of_seed_and_index() -> None:
    first, again = make_phantom(3, seed=5), make_phantom(3, seed=5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)
    for other in (make_phantom(4, seed=5), make_phantom(3, seed=6)):
        assert not np.array_equal(first.label, other.label)


@pytest.mark.parametrize("index", CASES)
def test_organ_and_neighbor_are_there_and_apart(index: int) -> None:
    phantom = make_phantom(index)
    organ = phantom.label == 1
    assert 0.008 < organ.mean() < 0.12
    assert phantom.neighbor.mean() > 0.004
    assert not (organ & phantom.neighbor).any()
    assert ndimage.label(organ)[1] == 1
    assert phantom.image.dtype == np.float32
    assert abs(phantom.image.mean()) < 1e-4
    assert phantom.image.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("index", CASES)
def test_the_neighbor_is_as_bright_as_the_organ(index: int) -> None:
    phantom = make_phantom(index)
    organ = phantom.image[phantom.label == 1].mean()
    difference = abs(organ - phantom.image[phantom.neighbor].mean())
    assert difference < phantom.noise / 4
    # Both do stand out from what is around them.
    ring = ndimage.binary_dilation(phantom.label, iterations=5) & ~ndimage.binary_dilation(
        (phantom.label == 1) | phantom.neighbor, iterations=2
    )
    assert organ - phantom.image[ring].mean() > phantom.noise


def test_size_and_place_vary() -> None:
    labels = [make_phantom(index).label for index in CASES]
    volumes = [label.sum() for label in labels]
    assert max(volumes) > 1.5 * min(volumes)
    centers = np.array([ndimage.center_of_mass(label) for label in labels])
    assert (centers.std(axis=0) > 1).all()


def test_a_data_set_has_a_manifest_that_passes_the_checks(tmp_path: Path) -> None:
    manifest = make_phantoms(
        tmp_path, 7, (20, 18, 16), (3.0, 3.0, 4.0), labeled=2, validation=1, test=1
    )
    assert load_manifest(tmp_path / "manifest.json") == manifest
    check_training_data(manifest, tmp_path)
    counts = [len(manifest.cases(r)) for r in ("labeled", "unlabeled", "validation", "test")]
    assert counts == [2, 3, 1, 1]
    assert manifest.test[0].case_id == "phantom_0006"
    image = nibabel.load(tmp_path / manifest.test[0].image)
    assert image.shape == (20, 18, 16)
    assert image.header.get_zooms() == (3.0, 3.0, 4.0)
    phantom = make_phantom(6, 0, (20, 18, 16), (3.0, 3.0, 4.0))
    np.testing.assert_array_equal(np.asarray(image.dataobj), phantom.image)


@pytest.mark.parametrize("roles", [{"labeled": 0}, {"labeled": 3, "test": 6}])
def test_impossible_counts_are_refused_before_anything_is_written(
    tmp_path: Path, roles: dict[str, int]
) -> None:
    with pytest.raises(DataError, match="phantoms cannot give"):
        make_phantoms(tmp_path / "set", 8, **roles)
    assert not (tmp_path / "set").exists()


def test_too_small_a_volume_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16 voxels"):
        make_phantom(0, shape=(48, 48, 8))
    with pytest.raises(DataError, match="too coarse for an organ and its neighbor"):
        make_phantom(1, shape=(16, 16, 16), spacing=(1, 1, 4))
