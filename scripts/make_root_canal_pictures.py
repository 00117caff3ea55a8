"""Make the picture of the root-canal phantoms for the documents: a dozen cases, as scanned.

python scripts/make_root_canal_pictures.py docs/pictures
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medsemi.data.root_canal_phantom import RootCanalPhantom, make_root_canal_phantom

CANAL = (255, 96, 48)
GAP, ZOOM, COLUMNS = 3, 2, 3
Pixels = NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write root_canal_phantoms.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the picture is written")
    parser.add_argument("--count", type=int, default=12, help="number of cases (%(default)s)")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    panels = [panel(make_root_canal_phantom(index)) for index in range(options.count)]
    rows = [beside(panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    width = max(row.shape[1] for row in rows)
    page = np.concatenate(
        [np.pad(row, ((0, 3 * GAP), (0, width - row.shape[1]), (0, 0))) for row in rows]
    )
    picture = Image.fromarray(page)
    picture = picture.resize((page.shape[1] * ZOOM, page.shape[0] * ZOOM), Image.Resampling.NEAREST)
    colors = picture.quantize(40, kmeans=1, dither=Image.Dither.NONE)
    colors.save(options.folder / "root_canal_phantoms.png", optimize=True)
    return 0


def panel(phantom: RootCanalPhantom) -> Pixels:
    """Four squares: across the roots, along the longest pulp, the label there, and its shadow.

    Args:
        phantom: the case.
    """
    image = phantom.image.astype(np.float64)
    low, high = np.percentile(image, (1, 99.7))
    grey = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    label = phantom.label > 0
    across = middle_of_canals(phantom)
    along = int(np.argmax(label.any(axis=0).sum(axis=1)))
    shadow = np.where(label.any(axis=1), 255, 0).astype(np.uint8)
    tiles = [
        colored(grey[:, :, across]),
        colored(grey[:, along]),
        colored(grey[:, along], label[:, along]),
        colored(shadow),
    ]
    return beside(tiles)


def middle_of_canals(phantom: RootCanalPhantom) -> int:
    """The axial slice halfway down the canals."""
    heights = [line[len(line) // 2, 2] for line in phantom.canals.values()]
    return int(np.mean(heights))


def colored(slice_: Pixels, label: NDArray[np.bool_] | None = None) -> Pixels:
    """A slice with its first axis to the right and its second one up, as (rows, columns, 3)."""
    pixels = np.stack([slice_] * 3, axis=-1)
    if label is not None:
        pixels[label] = CANAL
    return np.ascontiguousarray(pixels.transpose(1, 0, 2)[::-1])


def beside(tiles: Sequence[Pixels]) -> Pixels:
    """Tiles in a row, a gap after each, the lower ones filled up with black."""
    height = max(len(tile) for tile in tiles)
    padded = [np.pad(tile, ((0, height - len(tile)), (0, GAP), (0, 0))) for tile in tiles]
    return np.concatenate(padded, axis=1)


if __name__ == "__main__":
    sys.exit(main())
