"""From a fingerprint to a window, a network and a preparation: rules, no search.

Source: nnU-Net v2, `experiment_planning/experiment_planners/default_experiment_planner.py`
(`determine_fullres_target_spacing`, `get_plans_for_configuration`) and `network_topology.py`
(`get_pool_and_conv_props`). Deviations: a budget of voxels stands for its estimate of GPU memory; CT
is mapped from its percentiles to 0..1 in place of mean 0 and deviation 1, so that the zeros beside a
volume are the least value; MR is standardized on its own grid, before it is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsemi.data.anisotropy import ANISOTROPY, coarse_axis
from medsemi.data.fingerprint import LEAST_RANGE, Fingerprint
from medsemi.errors import ConfigError

LEAST_EDGE = 4  # voxels of the deepest features
REFERENCE_EDGE = 256  # of the cube that a window starts from
LEAST_STAGES = 3  # of MONAI's DynUNet


@dataclass(frozen=True, slots=True)
class Preset:
    """What a machine carries.

    Attributes:
        voxels: of a window, at most.
        filters: channels of the first stage.
        most_filters: of any stage.
        stages: at most, with the first one.
        windows: labeled ones of `voxels` in a batch, and as many unlabeled ones.
        residual: blocks of the network with a shortcut.
    """

    voxels: int
    filters: int
    most_filters: int
    stages: int
    windows: int
    residual: bool


PRESETS = {
    "cpu": Preset(48**3, 8, 128, 5, 2, residual=False),
    "gpu": Preset(128**3, 32, 320, 6, 2, residual=True),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a training.

    Attributes:
        spacing: that volumes are resampled to, in mm.
        window: in voxels.
        stride: between windows of inference, half of the window.
        strides: of each stage of the network, the first one without any.
        kernels: sizes of each stage.
        filters: channels of each stage.
        windows: labeled ones in a batch, and as many unlabeled ones.
        residual: blocks with a shortcut.
        coarse_axis: the one with far larger voxels, about which alone windows are rotated.
        clip: least and greatest intensity, mapped to 0..1; None standardizes each image.
    """

    spacing: tuple[float, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    filters: tuple[int, ...]
    windows: int
    residual: bool
    coarse_axis: int | None
    clip: tuple[float, float] | None


def make_plan(fingerprint: Fingerprint, preset: str) -> Plan:
    """Derive the settings from the data and the machine.

    Args:
        fingerprint: of the data.
        preset: a key of `PRESETS`.

    Raises:
        ConfigError: for an unknown preset, or volumes that are too small or of one value.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset is '{preset}'; it must be one of {', '.join(PRESETS)}.")
    machine = PRESETS[preset]
    spacing = target_spacing(fingerprint)
    shape = resampled_shape(fingerprint, spacing)
    window, strides, kernels = fitted_window(spacing, shape, machine)
    if len(strides) < LEAST_STAGES:
        raise ConfigError(
            f"the volumes are too small for a U-Net: {len(strides)} stages fit into windows of"
            f" {list(window)} voxels; take larger volumes or a finer spacing."
        )
    return Plan(
        spacing=spacing,
        window=window,
        stride=tuple(max(n // 2, 1) for n in window),
        strides=strides,
        kernels=kernels,
        filters=tuple(
            min(machine.filters * 2**n, machine.most_filters) for n in range(len(strides))
        ),
        windows=batch_size(fingerprint, spacing, window, machine),
        residual=machine.residual,
        coarse_axis=coarse_axis(spacing),
        clip=clip_range(fingerprint) if fingerprint.modality == "CT" else None,
    )


def clip_range(fingerprint: Fingerprint) -> tuple[float, float]:
    """Return the range of CT that is kept: of the structures, or of all where they have one value.

    Raises:
        ConfigError: if the whole images have one value as well.
    """
    if not fingerprint.is_saturated:
        return fingerprint.percentiles[0], fingerprint.percentiles[2]
    low, high = fingerprint.whole
    if high - low < LEAST_RANGE:
        raise ConfigError(
            f"values in structures differ by less than {LEAST_RANGE:g} HU, and in the whole images as"
            " well; check the images of labeled cases."
        )
    return low, high


def target_spacing(fingerprint: Fingerprint) -> tuple[float, ...]:
    """Return the median spacing; a far coarser axis takes its 10th percentile.

    Deviation: there it is never coarser than that percentile of the labeled cases alone, so that
    structures of few slices stay in their labels where most of the unlabeled slices are thick.
    """
    spacing = np.array(fingerprint.median_spacing)
    worst = int(np.argmax(spacing))
    others = [axis for axis in range(len(spacing)) if axis != worst]
    shape = np.array(fingerprint.median_shape)
    if spacing[worst] > ANISOTROPY * spacing[others].max():
        along = [case.spacing[worst] for case in fingerprint.cases]
        labeled = [case.spacing[worst] for case in fingerprint.cases if case.is_labeled]
        flat = shape[worst] * ANISOTROPY < shape[others].min()
        wanted = [float(np.percentile(along, 10))] if flat else [float(spacing[worst])]
        wanted += [float(np.percentile(labeled, 10))] if labeled else []
        spacing[worst] = max(min(wanted), spacing[others].max() + 1e-5)
    return tuple(round(float(value), 6) for value in spacing)


def batch_size(
    fingerprint: Fingerprint, spacing: Sequence[float], window: Sequence[int], machine: Preset
) -> int:
    """Return the labeled windows of a batch: more of them where the volumes allow smaller ones only.

    They show at most a twentieth of the voxels of all cases, as in nnU-Net, and are even and at least
    two, because BCP mixes one half with the other.
    """
    shapes = [np.array(case.shape) * case.spacing / np.array(spacing) for case in fingerprint.cases]
    shown, voxels = math.prod(window), float(np.prod(shapes, axis=1).sum())
    most = min(machine.windows * machine.voxels / shown, 0.05 * voxels / shown)
    return max(2 * int(most // 2), 2)


def resampled_shape(fingerprint: Fingerprint, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the median shape at `spacing`, in voxels."""
    shapes = [
        np.rint(np.array(case.shape) * np.array(case.spacing) / np.array(spacing))
        for case in fingerprint.cases
    ]
    return tuple(max(int(n), 1) for n in np.median(shapes, axis=0))


Topology = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]


def fitted_window(spacing: Sequence[float], shape: Sequence[int], machine: Preset) -> Topology:
    """Return the window with strides and kernels of its network, within the budget of voxels.

    The window starts as a cube in mm, cut to the median shape; then the axis that is longest by the
    median shape is shortened until it fits.
    """
    inverse = 1 / np.array(spacing)
    cube = inverse * (REFERENCE_EDGE**3 / np.prod(inverse)) ** (1 / 3)
    wanted = [min(round(float(n)), edge) for n, edge in zip(cube, shape, strict=True)]
    window, strides, kernels = topology(spacing, wanted, machine.stages)
    while math.prod(window) > machine.voxels:
        step = np.prod(np.array(strides), axis=0)
        possible = [axis for axis, n in enumerate(window) if n > max(step[axis], LEAST_EDGE)]
        if not possible:
            break
        longest = max(possible, key=lambda axis: window[axis] / shape[axis])
        smaller = list(window)
        smaller[longest] -= int(max(step[longest], 1))
        window, strides, kernels = topology(spacing, smaller, machine.stages)
    return window, strides, kernels


def topology(spacing: Sequence[float], window: Sequence[int], stages: int) -> Topology:
    """Return the window, enlarged to what the strides divide, with strides and kernels.

    An axis is halved while it keeps 4 voxels, and only together with those whose spacing is at most
    twice as fine; an axis of coarser spacing has kernels of 1 until the others have come near.
    """
    axes = len(spacing)
    now, size = list(map(float, spacing)), list(window)
    strides, kernels, kernel = [(1,) * axes], [], [1] * axes
    while len(strides) < stages:
        halved = [axis for axis in range(axes) if size[axis] >= 2 * LEAST_EDGE]
        finest = min((now[axis] for axis in halved), default=0.0)
        halved = [axis for axis in halved if now[axis] / finest < 2]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * LEAST_EDGE):
            break
        kernel = [3 if k == 3 or now[a] / min(now) < 2 else 1 for a, k in enumerate(kernel)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(axes)))
        for axis in halved:
            now[axis], size[axis] = 2 * now[axis], math.ceil(size[axis] / 2)
    kernels.append((3,) * axes)
    step = np.prod(np.array(strides), axis=0)
    fitted = tuple(int(math.ceil(n / s) * s) for n, s in zip(window, step, strict=True))
    return fitted, tuple(strides), tuple(kernels)
