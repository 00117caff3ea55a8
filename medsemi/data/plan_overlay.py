"""A plan as an overlay of a bundle: readable, with its reasons, to be edited by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import yaml

from medsemi.data.fingerprint import Fingerprint
from medsemi.data.planning import Plan

AXES = ("right-left", "front-back", "up-down")
SATURATED = "Values differ by less than 1 HU in structures: clip is of the whole images."


def overlay_text(fingerprint: Fingerprint, plan: Plan, source: str) -> str:
    """Return the overlay as YAML; it lies on top of any workflow of a bundle for volumes.

    Args:
        fingerprint: what the data are like; told in comments.
        plan: what follows from it.
        source: how the file was made, for its first line.
    """
    # A file without a modality and a scan of another kind look alike, but for the values of CT.
    modality = "CT" if fingerprint.modality == "CT" else "any"
    blocks = (_facts(fingerprint, source), _windows(plan), _network(fingerprint, plan))
    return "\n".join((*blocks, _preparation(plan, modality)))


def _facts(fingerprint: Fingerprint, source: str) -> str:
    spacing, shape = fingerprint.median_spacing, fingerprint.median_shape
    low, middle, high = fingerprint.percentiles
    lines = [
        f"# Made by: {source}",
        "# Lies on top of a workflow of a bundle for volumes; edit what you know better.",
        f"# {len(fingerprint.cases)} cases. Median voxel {_mm(spacing)} mm, median size {_mm(shape)} voxels",
        f"# (axes: {', '.join(AXES)}). Planned as {fingerprint.modality}: {fingerprint.reason}.",
        f"# Values in structures: {low:.4g} to {high:.4g}, median {middle:.4g}.",
    ]
    if fingerprint.is_saturated:
        lines.append(f"# {SATURATED}")
    named = (
        f"{' '.join(name.split())} {volume / 1000:.3g}"
        for name, volume in fingerprint.volumes.items()
    )
    return "\n".join([*lines, f"# Mean volumes in ml: {', '.join(named)}."])


def _windows(plan: Plan) -> str:
    lines = [
        "",
        f"window: {list(plan.window)}",
        f"stride: {list(plan.stride)}  # half a window",
        f"labeled_windows: {plan.windows}  # in a batch, and as many unlabeled ones",
        f"filters: {plan.filters[0]}",
    ]
    if plan.coarse_axis is not None:
        angles = [180 if axis == plan.coarse_axis else 0 for axis in range(3)]
        lines.append(f"rotation: {angles}  # about the axis of coarse slices alone")
    return "\n".join(lines)


def _network(fingerprint: Fingerprint, plan: Plan) -> str:
    features = [f"$@filters * {n // plan.filters[0]}" for n in plan.filters]
    strides, kernels = _rows(plan.strides), _rows(plan.kernels)
    return f"""
# A U-Net whose stages halve an axis while 4 voxels are left of it.
norm: instance  # or batch
dropout: 0.0
network_def:
  _target_: monai.networks.nets.DynUNet
  spatial_dims: 3
  in_channels: 1
  out_channels: {len(fingerprint.classes)}
  strides: {strides}
  kernel_size: {kernels}
  upsample_kernel_size: {_rows(plan.strides[1:])}
  filters: {json.dumps(features)}
  norm_name: {{_target_: medsemi.networks.norms.affine_norm, name: '@norm'}}
  dropout: '@dropout'
  res_block: {json.dumps(plan.residual)}
  deep_supervision: false
"""


def _preparation(plan: Plan, modality: str) -> str:
    clip = None if plan.clip is None else [float(f"{value:.6g}") for value in plan.clip]
    norm = "zscore" if plan.clip is None else "range"
    load = [
        "{_target_: monai.transforms.LoadImaged, KEYS}",
        "{_target_: monai.transforms.EnsureChannelFirstd, KEYS}",
        "{_target_: monai.transforms.Orientationd, KEYS, axcodes: RAS, labels: null}",
        "{_target_: monai.transforms.ScaleIntensityRanged, _disabled_: $@clip is None, keys: image,"
        " a_min: '$@clip[0] if @clip else 0.0', a_max: '$@clip[1] if @clip else 1.0',"
        " b_min: \"$@clip[0] if @clip and @intensity_norm != 'range' else 0.0\","
        " b_max: \"$@clip[1] if @clip and @intensity_norm != 'range' else 1.0\", clip: true}",
        "{_target_: monai.transforms.NormalizeIntensityd, _disabled_: \"$@intensity_norm != 'zscore'\","
        " keys: image}",
        "{_target_: monai.transforms.Spacingd, _disabled_: $@spacing is None, KEYS,"
        " pixdim: '$@spacing or [1.0, 1.0, 1.0]', MODE}",
    ]
    both = "keys: [image, label], allow_missing_keys: true"
    chains = (
        ("preprocessing", both, "mode: [bilinear, nearest]"),
        ("inference_preprocessing", "keys: image", "mode: bilinear"),
    )
    texts = [
        f"spacing: {list(plan.spacing)}  # mm; null leaves voxels as they are",
        f"clip: {_row(clip)}  # least and greatest intensity; null clips none",
        f"intensity_norm: {norm}  # zscore: mean 0, deviation 1; range: clip to 0..1; none",
        *(
            f"{name}:\n  _target_: monai.transforms.Compose\n  transforms:\n"
            + "\n".join(f"  - {one.replace('KEYS', keys).replace('MODE', mode)}" for one in load)
            for name, keys, mode in chains
        ),
        "# The same for `medsemi predict`, and part of what a checkpoint belongs to. Where it is not\n# planned as CT, scans of any modality are predicted.\n"
        f"preparation:\n  modality: [{modality}]\n  spacing: '@spacing'\n"
        "  intensity: {clip: '@clip', norm: '@intensity_norm'}\n"
        "+shared_settings:\n  preparation: '@preparation'\n",
    ]
    return "\n".join(texts)


def _row(values: Sequence[float] | None) -> str:
    # As YAML writes numbers, which takes 1e-05 for a text.
    return str(yaml.safe_dump(values, default_flow_style=True)).partition("\n")[0]


def _rows(rows: Iterable[Iterable[int]]) -> str:
    return json.dumps([list(row) for row in rows])


def _mm(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
