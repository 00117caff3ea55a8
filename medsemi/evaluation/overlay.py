"""Pictures of a segmentation: the slice with most of the structure, outlines on top."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsemi.atomic import write_atomically
from medsemi.evaluation.evaluate import LabeledVolume

# Distinguishable with color-vision deficiency (Okabe and Ito).
_COLORS = {"blue": "#56b4e9", "orange": "#e69f00", "pink": "#cc79a7", "red": "#d55e00"}
_REFERENCE_COLOR = "#f0e442"
# By the number of the class, for reference and networks alike: an exchange of classes is seen.
_LINES = ("solid", "dashed", "dotted", "dashdot")


def draw_overlay(
    path: str | Path, volume: LabeledVolume, labels: Mapping[str, NDArray[np.uint8]], title: str
) -> None:
    """Draw one case: the image with the outline of the reference, then one panel per network.

    Args:
        path: the PNG file.
        volume: image and, if there is one, reference label.
        labels: predicted class indices of shape (*space), by the name of the network.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    reference = volume.label
    shown = next(iter(labels.values())) if reference is None else reference
    plane = _fullest_plane(np.asarray(shown))
    image = np.asarray(volume.image[0][(..., plane) if volume.image.ndim == 4 else ...])
    figure = Figure(figsize=(3.2 * len(labels), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(labels), squeeze=False)[0]
    low, high = np.percentile(image, (1, 99))
    aspect = volume.spacing[1] / volume.spacing[0]
    for axis, (name, label), (word, color) in zip(
        axes, labels.items(), cycle(_COLORS.items()), strict=False
    ):
        axis.imshow(image.T, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect)
        _outline(axis, label, plane, color)
        if reference is not None:
            _outline(axis, np.asarray(reference), plane, _REFERENCE_COLOR)
        axis.set_title(f"{name} ({word}), reference (yellow)", fontsize=7)
        axis.set_axis_off()
    figure.suptitle(title + _key(volume, labels, plane), fontsize=9)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _line(value: int) -> str:
    return _LINES[(value - 1) % len(_LINES)]


def _key(volume: LabeledVolume, labels: Mapping[str, NDArray[np.uint8]], plane: int) -> str:
    """Which line is which class, where several are seen."""
    shown = [*labels.values()] + ([] if volume.label is None else [np.asarray(volume.label)])
    flat = [label[..., plane] if label.ndim == 3 else label for label in shown]
    classes = sorted({int(value) for label in flat for value in np.unique(label)} - {0})
    if len(classes) < 2:
        return ""
    return "\nclasses: " + ", ".join(f"{value} {_line(value)}" for value in classes)


def _fullest_plane(label: NDArray[np.uint8]) -> int:
    if label.ndim == 2:
        return 0
    counts = (label > 0).sum((0, 1))
    return int(counts.argmax()) if counts.any() else label.shape[2] // 2


def _outline(axis: object, label: NDArray[np.uint8], plane: int, color: str) -> None:
    flat = label[..., plane] if label.ndim == 3 else label
    for value in np.unique(flat[flat > 0]):
        axis.contour(  # type: ignore[attr-defined]
            (flat == value).T, levels=[0.5], colors=color, linewidths=1.2, linestyles=_line(value)
        )
