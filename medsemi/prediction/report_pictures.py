"""Pictures of the structures as data URIs, so small that the page stays small.

The rows of structures.png become one WebP each: a noisy row of 728×240 pixels takes 25 kB as WebP
and 88 kB as PNG of 32 grays. The lossless picture stays beside the result.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from medsemi.prediction.outputs.structures import GAP, PANEL, ROWS_KEY

# Part of the full size, quality, and about what part of the bytes of the first that gives.
_LADDER = (
    (1.0, 80, 1.0),
    (1.0, 60, 0.75),
    (0.75, 60, 0.45),
    (0.6, 50, 0.25),
    (0.5, 40, 0.15),
    (0.4, 30, 0.09),
)
_FASTEST_GOOD_METHOD = 2


@dataclass(frozen=True, slots=True)
class Strip:
    """Three planes of one structure.

    Attributes:
        number: of the label; 0 where nothing was found.
        name: of the structure.
        color: of its outline.
        uri: the picture.
        width: of the picture in pixels.
        height: of the picture in pixels.
    """

    number: int
    name: str
    color: tuple[int, int, int]
    uri: str
    width: int
    height: int


def read_strips(sheet: Path, most_bytes: int) -> list[Strip]:
    """Cut a sheet into its rows.

    Args:
        sheet: structures.png.
        most_bytes: of all URIs together; the smallest size is used even if it does not fit.

    Returns:
        One strip for each structure of the sheet; none if the sheet cannot be read.
    """
    try:
        with Image.open(sheet) as picture:
            rows = json.loads(getattr(picture, "text", {})[ROWS_KEY])
            pixels = picture.convert("RGB")
    except (OSError, ValueError, KeyError):
        return []
    strips = []
    for place, row in enumerate(rows):
        top = place * (PANEL + GAP)
        part = pixels.crop((0, top, pixels.width, top + PANEL))
        data, size = _encode(part, most_bytes // len(rows))
        uri = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        red, green, blue = row["color"]
        strips.append(Strip(row["number"], row["name"], (red, green, blue), uri, *size))
    return strips


def _encode(picture: Image.Image, most_characters: int) -> tuple[bytes, tuple[int, int]]:
    """The best picture of the ladder that fits, or its last, as WebP; and its size."""
    most_bytes = most_characters * 3 // 4
    full = 0
    for part, quality, expected in _LADDER:
        if full * expected > most_bytes and (part, quality, expected) != _LADDER[-1]:
            continue
        size = round(picture.width * part), round(picture.height * part)
        shrunk = picture if part == 1 else picture.resize(size, Image.Resampling.BOX)
        stream = io.BytesIO()
        shrunk.save(stream, "WEBP", quality=quality, method=_FASTEST_GOOD_METHOD)
        full = full or stream.tell()
        if stream.tell() <= most_bytes:
            break
    return stream.getvalue(), size
