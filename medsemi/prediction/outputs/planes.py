"""Planes of a volume as pictures: true proportions in mm, outlines, letters and a bar of known length.

Only the plane that is shown is resampled; the volume is never copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import measure

from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.model import Model
from medsemi.prediction.outputs.extents import Extent, label_extents
from medsemi.prediction.outputs.views import View, views_of

Plane = NDArray[np.float32]
# Named windows of CT: lowest and highest HU shown.
HU_WINDOWS = {"lung": (-1350.0, 150.0), "soft tissue": (-160.0, 240.0), "bone": (-450.0, 1050.0)}
_LUNG_BELOW, _BONE_ABOVE = -400.0, 250.0
_PERCENTILES = (0.5, 99.5)
_SAMPLES = 500_000
# Outlines are drawn this much larger and shrunk, so that they are smooth.
_OVERSAMPLING = 2
_HALO = (0, 0, 0, 150)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_NICE = (1, 2, 5)


@dataclass(frozen=True, eq=False)
class Scene:
    """What all planes of a case share.

    Attributes:
        values: indexed (column, row, slice).
        labels: the same lattice.
        views: by name, see `views_of`.
        colors: of each label number.
        extents: of each label that is there.
        window: lowest and highest value shown.
        window_text: the window in words.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.unsignedinteger[Any]]
    views: Mapping[str, View]
    colors: Mapping[int, tuple[int, int, int]]
    extents: Mapping[int, Extent]
    window: tuple[float, float]
    window_text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What part of a plane is shown, and how large.

    Attributes:
        size: of the picture, in pixels (width, height).
        center: mm to the right and down from voxel (0, 0) of the plane; None shows all of the plane.
        field: edge in mm of what is shown around `center`, along the shorter side of the picture.
    """

    size: tuple[int, int]
    center: tuple[float, float] | None = None
    field: float = 0.0


def make_scene(case: Case, volume: Volume, segmentation: Segmentation, model: Model) -> Scene:
    """Collect what the planes of a case share.

    Args:
        case: with its grid.
        volume: its voxels.
        segmentation: its labels, on the same grid.
        model: names and colors of the labels.

    Raises:
        ValueError: the case has no grid.
    """
    if case.grid is None:
        raise ValueError("a case without a grid cannot be drawn")
    window, text = display_window(volume, segmentation.labels)
    return Scene(
        volume.values,
        segmentation.labels,
        views_of(case.grid),
        {label.number: label.color for label in model.labels},
        label_extents(segmentation.labels, model.labels),
        window,
        text,
    )


def display_window(
    volume: Volume, labels: NDArray[np.unsignedinteger[Any]]
) -> tuple[tuple[float, float], str]:
    """Choose which values are shown from black to white.

    CT gets the window of lung, soft tissue or bone that fits the median of what was segmented;
    other images the range between two percentiles. A sample of the voxels is enough for both.

    Args:
        volume: values and unit.
        labels: on the same lattice.

    Returns:
        Lowest and highest value, and the window in words.
    """
    step = max(1, round((volume.values.size / _SAMPLES) ** (1 / 3)))
    sample = volume.values[::step, ::step, ::step]
    if volume.unit != "HU":
        low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
        return (low, high if high > low else low + 1), "window: 0.5 to 99.5 % of the values"
    inside = sample[labels[::step, ::step, ::step] > 0]
    median = float(np.median(inside)) if inside.size else 0.0
    name = "lung" if median < _LUNG_BELOW else "bone" if median > _BONE_ABOVE else "soft tissue"
    low, high = HU_WINDOWS[name]
    return (low, high), f"{name} window, {low:.0f} to {high:.0f} HU"


def draw_plane(scene: Scene, view: View, index: int, frame: Frame) -> Image.Image:
    """Draw one plane with outlines, letters at the edges and a bar of known length.

    Args:
        scene: of the case.
        view: which family of planes.
        index: which plane of it, from 0.
        frame: size, and the part that is shown.

    Returns:
        An RGB picture of exactly `frame.size`.
    """
    scale, corner = _placement(scene, view, frame)
    gray = _gray(_cut(scene.values, view, index), view, scale, corner, frame.size, scene.window)
    picture = Image.fromarray(gray).convert("RGB")
    _draw_outlines(picture, scene, view, index, scale, corner)
    _draw_letters(picture, view.letters)
    _draw_bar(picture, scale)
    return picture


def plane_center(view: View, position: tuple[float, float, float]) -> tuple[float, float]:
    """Where a voxel lies on the planes of a view, in mm to the right and down from voxel (0, 0).

    Args:
        view: of the plane.
        position: indices (column, row, slice).
    """
    right, down = view.steps @ (position[view.horizontal], position[view.vertical])
    return float(right), float(down)


def plane_bounds(scene: Scene, view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest mm to the right and down (2,) that the planes of a view cover.

    Args:
        scene: of the case.
        view: of the planes.
    """
    last_h = scene.values.shape[view.horizontal] - 0.5
    last_v = scene.values.shape[view.vertical] - 0.5
    corners = view.steps @ np.array([[-0.5, last_h, -0.5, last_h], [-0.5, -0.5, last_v, last_v]])
    return corners.min(axis=1), corners.max(axis=1)


def draw_text(
    picture: Image.Image, place: tuple[float, float], text: str, size: int, anchor: str = "la"
) -> None:
    """Write white text with a dark rim, readable on any gray.

    Args:
        picture: to write on.
        place: pixels from the left and the top.
        text: one line.
        size: height of the letters in pixels.
        anchor: which point of the text lies at `place`, as in Pillow.
    """
    ImageDraw.Draw(picture).text(
        place, text, _WHITE, font(size), anchor, stroke_width=max(1, size // 12), stroke_fill=_BLACK
    )


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow.

    Args:
        size: in pixels.
    """
    return ImageFont.load_default(size)


def _cut(array: NDArray[Any], view: View, index: int) -> NDArray[Any]:
    """One plane as a view of the array, (vertical, horizontal)."""
    plane = np.asarray(np.moveaxis(array, view.axis, 0)[index])
    return plane.T if view.horizontal < view.vertical else plane


def _placement(scene: Scene, view: View, frame: Frame) -> tuple[float, NDArray[np.float64]]:
    """Pixels per mm, and the place of the upper left corner in mm from voxel (0, 0)."""
    low, high = plane_bounds(scene, view)
    size = np.asarray(frame.size)
    if frame.center is None:
        scale, middle = float(min(size / (high - low))), (low + high) / 2
    else:
        scale = min(frame.size) / frame.field
        # Show no emptiness beside the plane while there is something to show on the other side.
        half = size / (2 * scale)
        inside = np.clip(frame.center, low + half, np.maximum(high - half, low + half))
        middle = np.where(high - low > 2 * half, inside, (low + high) / 2)
    return scale, middle - size / (2 * scale)


def _gray(
    plane: Plane,
    view: View,
    scale: float,
    corner: NDArray[np.float64],
    size: tuple[int, int],
    window: tuple[float, float],
) -> NDArray[np.uint8]:
    """Resample the plane: (height, width), 0 outside of it."""
    low, high = window
    # From pixels (x, y) to lattice steps (horizontal, vertical); voxel and pixel centers are meant.
    matrix = np.linalg.inv(view.steps) / scale
    offset = np.linalg.inv(view.steps) @ (corner + 0.5 / scale)
    reduction = np.abs(matrix).sum(axis=1)
    windowed = np.clip((plane - low) * np.float32(255 / (high - low)), 0, 255)
    # Blur what would otherwise alias where several voxels fall into a pixel.
    blurred = ndimage.gaussian_filter(
        windowed, np.maximum(reduction[::-1] - 1, 0) / 2, mode="nearest"
    )
    sampled = ndimage.affine_transform(
        blurred, matrix[::-1, ::-1], offset[::-1], size[::-1], order=1, mode="grid-constant"
    )
    return np.asarray(np.rint(sampled), dtype=np.uint8)


def _draw_outlines(
    picture: Image.Image,
    scene: Scene,
    view: View,
    index: int,
    scale: float,
    corner: NDArray[np.float64],
) -> None:
    plane = np.pad(_cut(scene.labels, view, index), 1)
    size = picture.width * _OVERSAMPLING, picture.height * _OVERSAMPLING
    layer = Image.new("RGBA", size)
    pen = ImageDraw.Draw(layer)
    thickness = max(5, round(picture.width / 80))
    lines = [
        (scene.colors[number], _to_pixels(outline, view, scale, corner))
        # The smaller lies on top: within a larger one it would not be seen otherwise.
        for number in sorted(scene.extents, key=lambda number: -scene.extents[number].voxels)
        for outline in _outlines(plane == number)
    ]
    for _, line in lines:
        pen.line(line, _HALO, thickness + 3, joint="curve")
    for color, line in lines:
        pen.line(line, (*color, 255), thickness, joint="curve")
    smooth = layer.resize(picture.size, Image.Resampling.BOX)
    picture.paste(smooth, (0, 0), smooth)


def _outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed lines of points (row, column) halfway between inside and outside."""
    if not mask.any():
        return []
    lines = measure.find_contours(mask.astype(np.float32), 0.5)  # type: ignore[no-untyped-call]
    return [np.asarray(line) for line in lines]


def _to_pixels(
    outline: NDArray[np.float64], view: View, scale: float, corner: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """Points (row, column) of a padded plane as (x, y) on the enlarged layer."""
    mm = (outline[:, ::-1] - 1) @ view.steps.T
    pixels = (mm - corner) * scale * _OVERSAMPLING - 0.5
    return [(float(x), float(y)) for x, y in pixels]


def _draw_letters(picture: Image.Image, letters: tuple[str, str, str, str]) -> None:
    width, height = picture.size
    size = max(11, min(22, width // 18))
    edge = size // 2
    places = (
        (edge, height / 2, "lm"),
        (width - edge, height / 2, "rm"),
        (width / 2, edge, "mt"),
        (width / 2, height - edge, "mb"),
    )
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        draw_text(picture, (x, y), letter, size, anchor)


def _draw_bar(picture: Image.Image, scale: float) -> None:
    """A bar of a round length in mm, at most a third of the width, at the lower left."""
    millimeters = _round_length(picture.width / 3 / scale)
    length, size = millimeters * scale, max(10, min(18, picture.width // 22))
    left, bottom = size * 0.8, picture.height - size * 0.8
    pen = ImageDraw.Draw(picture)
    for color, width in ((_BLACK, 5), (_WHITE, 2)):
        pen.line([(left, bottom), (left + length, bottom)], color, width)
        for x in (left, left + length):
            pen.line([(x, bottom - 4), (x, bottom + 4)], color, width)
    draw_text(picture, (left, bottom - 6), f"{millimeters:g} mm", size, "lb")


def _round_length(most: float) -> float:
    """The greatest of 1, 2, 5, 10, 20, 50, … that is not above `most`; also below 1."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(nice for nice in _NICE if nice * power <= most * (1 + 1e-9)) * power)
