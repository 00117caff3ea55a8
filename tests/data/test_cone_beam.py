"""Each fault of the scanner alone, on images whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medsemi.data.cone_beam import ConeBeam, Streak, draw_cone_beam, scan
from medsemi.data.fields import voxel_centers

SHAPE, SPACING = (40, 36, 24), (0.25, 0.25, 0.25)
CENTERS = voxel_centers(SHAPE, SPACING).astype(np.float32)
PERFECT = ConeBeam(
    point_spread=1e-6,
    cupping=0.0,
    axis=(0.0, 0.0),
    rings=np.zeros(64),
    streaks=(),
    motion=(0.0, 0.0, 0.0),
    noise=0.0,
    correlation=0.6,
    gain=1.0,
    offset=0.0,
    seed=1,
)


def scanned(truth: np.ndarray, **changes: object) -> np.ndarray:
    return scan(truth.astype(np.float32), CENTERS, SPACING, replace(PERFECT, **changes))


def test_a_perfect_scanner_shows_the_truth() -> None:
    truth = np.random.default_rng(0).integers(-1000, 3095, SHAPE)
    np.testing.assert_array_equal(scanned(truth), truth)


@pytest.mark.parametrize(("width", "expected"), [(0.5, 0.50), (1.0, 0.94)])
def test_contrast_of_a_canal_behind_the_blur(width: float, expected: float) -> None:
    """1 − exp(−d²/(8σ²)) for a cylinder and a full width of 0.50 mm."""
    fine = voxel_centers((80, 80, 3), (0.05, 0.05, 0.05)).astype(np.float32)
    truth = 1600 - 1300.0 * (np.hypot(fine[0], fine[1]) < width / 2)
    beam = replace(PERFECT, point_spread=0.5 / 2.3548)
    image = scan(truth.astype(np.float32), fine, (0.05, 0.05, 0.05), beam)
    assert (1600 - image.min()) / 1300 == pytest.approx(expected, abs=0.04)


def test_noise_has_its_deviation_and_is_correlated() -> None:
    noise = scanned(np.full(SHAPE, 500.0), noise=100.0) - 500
    assert noise.std() == pytest.approx(100, rel=0.01)
    assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] > 0.2
    other = scanned(np.full(SHAPE, 500.0), noise=100.0, seed=2) - 500
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_rings_depend_on_the_distance_from_the_axis_alone() -> None:
    rings = np.random.default_rng(0).normal(0, 20, 64)
    image = scanned(np.full(SHAPE, 500.0), rings=rings) - 500
    radius = np.hypot(CENTERS[0], CENTERS[1])
    for inner in (1.0, 2.0):
        chosen = np.abs(radius - inner - 0.0625) < 0.06
        assert np.ptp(image[chosen]) <= 1
    assert image.std() > 10


def test_cupping_leaves_air_alone() -> None:
    truth = np.full(SHAPE, 1500.0)
    truth[:20] = -1000
    image = scanned(truth, cupping=0.1)
    np.testing.assert_array_equal(image[:20], -1000)
    assert image[20, 18, 0] == pytest.approx(-1000 + 2500 * 0.9, abs=3)


def test_streaks_run_along_rays_and_fade_above_the_metal() -> None:
    streak = Streak((6.0, 0.0, 0.0), 1.5, np.where(np.arange(720) % 90 < 45, 100.0, -100.0), 0.8)
    image = scanned(np.full(SHAPE, 500.0), streaks=(streak,)) - 500
    metal = ((CENTERS - np.array([6.0, 0, 0]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 1.5**2
    assert image[metal].min() > 1000
    image[metal] = 0
    assert image[:30, :, 12].std() > 3 * image[:30, :, 0].std()


def test_motion_doubles_an_edge() -> None:
    truth = np.zeros(SHAPE)
    truth[20:] = 1000
    image = scanned(truth, motion=(0.25, 0.0, 0.0))
    assert image[18:22, 5, 5].tolist() == [0, 0, 500, 1000]


def test_gain_offset_and_limits() -> None:
    image = scanned(np.linspace(-1000, 3000, np.prod(SHAPE)).reshape(SHAPE), gain=1.2, offset=100)
    assert (image.min(), image.max()) == (-1000, 3095)
    middle = scanned(np.full(SHAPE, 500.0), gain=1.2, offset=100)
    assert (middle == 700).all()


def test_drawn_scans_stay_in_their_bounds() -> None:
    beams = [draw_cone_beam(np.random.default_rng(i)) for i in range(200)]
    assert all(60 <= b.noise <= 150 and 0.15 <= b.point_spread <= 0.21 for b in beams)
    assert all(0.7 <= b.gain <= 1.3 and abs(b.offset) <= 200 for b in beams)
    assert {len(b.streaks) for b in beams} == {0, 1, 2}
    moved = [np.linalg.norm(b.motion) for b in beams if any(b.motion)]
    assert 20 <= len(moved) <= 60
    assert max(moved) <= 0.2
