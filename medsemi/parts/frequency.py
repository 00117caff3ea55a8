"""A window as the sum of its low and its high frequencies, both at full resolution.

The low band is a low-pass at the size of the window, the high band is what it leaves: the sum is
the window whatever the filter, for any size, and both bands lie where the label lies. Sub-bands of
half the size, enlarged again (XNet, `tools/wavelet3D.py`), do not: theirs are displaced by up to
2.35 voxels. The same code serves 2D and 3D, on any device, and can be differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medsemi.errors import ConfigError

KINDS = ("haar", "gaussian", "fft")

# In standard deviations: where a Gaussian is cut off, at 1.1 % of its peak.
_GAUSSIAN_REACH = 3.0


def low_pass(
    image: Tensor, kind: str = "haar", levels: int = 1, anchor: Sequence[int] | None = None
) -> Tensor:
    """Return the low frequencies of `image`, in the same shape.

    Args:
        image: shape (batch, channels, *space), 2D or 3D.
        kind: `haar`: the mean of blocks of 2^levels voxels per axis, which is the approximation of
            a Haar wavelet transform with all details set to zero (Haar 1910; Mallat 1989);
            `gaussian`: standard deviation 2^(levels - 1) voxels; `fft`: all frequencies up to
            2^-(levels + 1) cycles per voxel, 0.25 at one level.
        levels: how low, at least 1; each level halves the band.
        anchor: for `haar`, the voxel per axis at which a block begins; None is 0.

    Outside the window its edge goes on (`haar`, `gaussian`) or its mirror image (`fft`), so that
    nothing wraps around.

    Raises:
        ConfigError: if there is no filter of that kind, or no level.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is '{kind}'; it must be one of {', '.join(KINDS)}.")
    if levels < 1:
        raise ConfigError(f"levels is {levels}; a low-pass needs at least 1.")
    if kind == "haar":
        return _block_means(image, 2**levels, anchor or (0,) * (image.ndim - 2))
    if kind == "gaussian":
        return gaussian_blur(image, 2.0 ** (levels - 1))
    return _fourier(image, 2.0 ** -(levels + 1))


def split(
    image: Tensor, kind: str = "haar", levels: int = 1, anchor: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Return low and high frequencies, whose sum is `image`; arguments as for `low_pass`."""
    low = low_pass(image, kind, levels, anchor)
    return low, image - low


def _block_means(image: Tensor, edge: int, anchor: Sequence[int]) -> Tensor:
    space = image.shape[2:]
    front = [-start % edge for start in anchor]
    back = [-(n + before) % edge for n, before in zip(space, front, strict=True)]
    padded = _pad(image, front, back, "replicate")
    pool = functional.avg_pool2d if len(space) == 2 else functional.avg_pool3d
    means = functional.interpolate(pool(padded, edge), scale_factor=float(edge), mode="nearest")
    return _crop(means, front, space)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur `image` (batch, channels, *space), whose edge goes on outside of the window.

    Args:
        image: 2D or 3D.
        sigma: standard deviation in voxels, greater than 0.
    """
    reach = math.ceil(_GAUSSIAN_REACH * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    axes = image.ndim - 2
    convolve = functional.conv2d if axes == 2 else functional.conv3d
    # One axis after the other; channels are samples here, since each is filtered alone.
    result = _pad(image.flatten(0, 1).unsqueeze(1), [reach] * axes, [reach] * axes, "replicate")
    for axis in range(axes):
        shape = [1] * (axes + 2)
        shape[axis + 2] = len(weights)
        result = convolve(result, weights.view(shape))
    return result.view(image.shape)


def _fourier(image: Tensor, cutoff: float) -> Tensor:
    space = image.shape[2:]
    # Two periods of the slowest frequency that is removed, as far as there is something to mirror.
    margin = [min(n - 1, round(2 / cutoff)) for n in space]
    padded = _pad(image, margin, margin, "reflect")
    size, dims = padded.shape[2:], tuple(range(2, image.ndim))
    options = {"dtype": image.dtype, "device": image.device}
    axes = [torch.fft.fftfreq(n, **options) for n in size[:-1]]
    axes.append(torch.fft.rfftfreq(size[-1], **options))
    squared = torch.stack([f.square() for f in torch.meshgrid(*axes, indexing="ij")]).sum(0)
    kept = torch.fft.rfftn(padded, dim=dims) * (squared <= cutoff**2)
    return _crop(torch.fft.irfftn(kept, s=size, dim=dims), margin, space)


def _pad(image: Tensor, front: Sequence[int], back: Sequence[int], mode: str) -> Tensor:
    if not any((*front, *back)):
        return image
    # torch counts axes from the last one.
    pairs = zip(reversed(front), reversed(back), strict=True)
    return functional.pad(image, [n for pair in pairs for n in pair], mode=mode)


def _crop(image: Tensor, front: Sequence[int], space: Sequence[int]) -> Tensor:
    for axis, (start, n) in enumerate(zip(front, space, strict=True), start=2):
        image = image.narrow(axis, start, n)
    return image
