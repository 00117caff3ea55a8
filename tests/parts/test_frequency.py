"""Low and high frequencies: hand-worked blocks, PyWavelets, and what any split keeps."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from medsemi.errors import ConfigError
from medsemi.parts.frequency import KINDS, low_pass, split

SIZES = [(16, 12), (33, 35), (16, 12, 8), (13, 16, 11), (1, 5, 3)]


def image_of(space: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(space))
    return torch.randn((2, 3, *space), generator=generator, dtype=dtype)


def test_block_means_by_hand() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    low, high = split(image)
    assert low[0, 0, ::2, ::2].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(low[..., ::2, ::2], low[..., 1::2, 1::2])
    variances = [band.var(correction=0).item() for band in (low, high, image)]
    assert variances == [17.0, 4.25, 21.25]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("space", SIZES)
def test_the_bands_add_up_to_the_window(kind: str, levels: int, space: tuple[int, ...]) -> None:
    image = image_of(space)
    low, high = split(image, kind, levels)
    assert low.shape == high.shape == image.shape
    torch.testing.assert_close(low + high, image, atol=1e-6, rtol=0)
    assert not torch.equal(low, image)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("space", [(16, 12), (16, 12, 8)])
def test_haar_bands_are_orthogonal(levels: int, space: tuple[int, ...]) -> None:
    low, high = split(image_of(space), levels=levels)
    assert abs((low * high).sum()) < 1e-4 * low.norm() * high.norm()


@pytest.mark.parametrize("space", [(16, 12), (33, 35), (16, 12, 8), (13, 16, 11)])
def test_the_haar_band_is_that_of_pywavelets(space: tuple[int, ...]) -> None:
    image = image_of(space)[0, 0].numpy()
    coefficients = pywt.dwtn(image, "haar", mode="symmetric")
    details = {key: None for key in coefficients if "d" in key}
    expected = pywt.idwtn(coefficients | details, "haar", mode="symmetric")
    found = low_pass(torch.from_numpy(image)[None, None])[0, 0].numpy()
    window = tuple(slice(n) for n in space)
    np.testing.assert_allclose(found, expected[window], atol=1e-6)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_gaussian_is_its_own_transform(axis: int) -> None:
    """A wave of frequency f is dampened by exp(-2 (pi sigma f)^2)."""
    wave = torch.cos(2 * torch.pi * torch.arange(96.0) / 12)
    image = wave.view([1, 1, -1, 1] if axis == 2 else [1, 1, 1, -1]).expand(1, 1, 96, 96)
    for levels, sigma in ((1, 1.0), (2, 2.0)):
        low = low_pass(image, "gaussian", levels).select(axis, 48)[..., 48]
        assert low.item() == pytest.approx(np.exp(-2 * (np.pi * sigma / 12) ** 2), abs=0.01)


@pytest.mark.parametrize(("period", "kept"), [(3, 0.0), (6, 1.0)])
def test_fourier_cuts_at_a_quarter_cycle(period: int, kept: float) -> None:
    wave = torch.cos(2 * torch.pi * (torch.arange(120.0) + 0.5) / period)
    image = wave.view(1, 1, 1, -1).expand(1, 1, 8, 120)
    middle = low_pass(image, "fft")[..., 40:80]
    torch.testing.assert_close(middle, kept * image[..., 40:80], atol=0.05, rtol=0)


def test_each_level_halves_the_band() -> None:
    steps = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 16, 64)
    assert [len(low_pass(steps, "haar", n)[0, 0, 0].unique()) for n in (1, 2, 3)] == [32, 16, 8]
    impulse = torch.zeros(1, 1, 65, 65)
    impulse[..., 32, 32] = 1.0
    squares = (torch.arange(65) - 32).square()
    for levels, sigma in ((2, 2.0), (3, 4.0)):
        variance = (low_pass(impulse, "gaussian", levels).sum((0, 1, 2)) * squares).sum()
        assert variance.sqrt().item() == pytest.approx(sigma, rel=0.05)
    for period, kept in ((6, 0.0), (12, 1.0)):
        wave = torch.cos(2 * torch.pi * (torch.arange(240.0) + 0.5) / period)
        image = wave.view(1, 1, 1, -1).expand(1, 1, 8, 240)
        middle = low_pass(image, "fft", 2)[..., 80:160]
        torch.testing.assert_close(middle, kept * image[..., 80:160], atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_wraps_around(kind: str) -> None:
    """A bright edge leaves the far side dark."""
    image = torch.zeros(1, 1, 32, 16)
    image[..., :4, :] = 1.0
    assert low_pass(image, kind)[..., -6:, :].abs().max() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 5)])
def test_gradients(kind: str, space: tuple[int, ...]) -> None:
    image = image_of(space, torch.float64)[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: low_pass(x, kind, 1), image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_has_no_high_band(kind: str) -> None:
    _, high = split(torch.full((1, 1, 7, 9, 8), 3.7), kind, 2)
    assert high.abs().max() < 1e-5


def test_the_anchor_moves_the_blocks() -> None:
    image = image_of((16, 12))
    rolled = low_pass(image.roll((1, 1), (2, 3)), anchor=(1, 1))
    expected = low_pass(image).roll((1, 1), (2, 3))
    torch.testing.assert_close(rolled[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3])
    assert torch.equal(low_pass(image, anchor=(2, 4)), low_pass(image))


def test_each_channel_is_filtered_alone() -> None:
    image = image_of((8, 8, 8))
    for kind in KINDS:
        alone = low_pass(image[1:, 2:], kind)
        torch.testing.assert_close(low_pass(image, kind)[1:, 2:], alone)


@pytest.mark.parametrize(("kind", "levels", "named"), [("db2", 1, "haar"), ("haar", 0, "levels")])
def test_what_there_is_not_is_refused(kind: str, levels: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        low_pass(torch.zeros(1, 1, 4, 4), kind, levels)
