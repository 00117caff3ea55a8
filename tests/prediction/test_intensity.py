"""Normalization of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medsemi.prediction.intensity import background_of, normalize
from medsemi.prediction.model import Intensity

VALUES = np.asfortranarray(np.random.default_rng(2).normal(4000, 300, (9, 8, 7)), dtype=np.float32)


def prepared(intensity: Intensity, values: np.ndarray[Any, Any] = VALUES) -> np.ndarray[Any, Any]:
    image = torch.from_numpy(values.copy())
    if intensity.clip is not None:
        image.clamp_(*intensity.clip)
    result = normalize(image, values, intensity)
    assert result is image
    array: np.ndarray[Any, Any] = result.numpy()
    return array


def test_none_leaves_the_values() -> None:
    assert np.array_equal(prepared(Intensity()), VALUES)


@pytest.mark.parametrize("clip", [None, (3900.0, 4100.0)])
def test_zscore_has_mean_0_and_sd_1(clip: tuple[float, float] | None) -> None:
    result = prepared(Intensity(clip, "zscore"))
    assert result.mean() == pytest.approx(0, abs=1e-4)
    assert result.std() == pytest.approx(1, rel=1e-4)


def test_zscore_takes_the_statistics_of_the_source() -> None:
    """What is filled in beside a tilted stack is no part of the scan."""
    image = torch.full((3, 3, 3), 4300.0)
    result = normalize(image, VALUES, Intensity(norm="zscore"))
    expected = (4300 - VALUES.mean(dtype=float)) / VALUES.std(dtype=float)
    assert result.numpy() == pytest.approx(expected, rel=1e-4)


def test_zscore_of_a_constant_is_finite() -> None:
    assert (prepared(Intensity(norm="zscore"), np.full((3, 3, 3), 7, np.float32)) == 0).all()


def test_range_maps_the_clip_to_0_and_1() -> None:
    result = prepared(Intensity((3900, 4100), "range"))
    assert (result.min(), result.max()) == (0, 1)
    assert result == pytest.approx((VALUES.clip(3900, 4100) - 3900) / 200, abs=1e-6)


def test_background() -> None:
    assert background_of(VALUES, Intensity(background=-1024)) == -1024
    assert background_of(VALUES, Intensity(background=0)) == 0
    assert background_of(VALUES, Intensity()) == VALUES.min()


def test_minmax_maps_the_volume_to_0_to_1() -> None:
    values = np.array([2.0, 4.0, 12.0], np.float32)
    image = torch.tensor([2.0, 7.0, 12.0])
    result = normalize(image, values, Intensity(norm="minmax"))
    torch.testing.assert_close(result, torch.tensor([0.0, 0.5, 1.0]))
    clipped = normalize(torch.tensor([2.0, 7.0, 7.0]), values, Intensity((2.0, 7.0), "minmax"))
    torch.testing.assert_close(clipped, torch.tensor([0.0, 1.0, 1.0]))
    flat = normalize(torch.full((3,), 5.0), np.full(3, 5, np.float32), Intensity(norm="minmax"))
    torch.testing.assert_close(flat, torch.zeros(3))
