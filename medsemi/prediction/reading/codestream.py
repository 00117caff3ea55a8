"""What a compressed image says of itself, compared with the DICOM header before it is decoded.

A decoder allocates what the codestream claims, and pydicom compares sizes only afterwards, of most
codestreams their product alone and of RLE nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from struct import unpack_from

JPEG_START, JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Start of frame: all C0 to CF but the tables C4, C8 and CC; F7 is that of JPEG-LS.
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
MOST_TILES = 4096


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size of a compressed image.

    Attributes:
        rows: of pixels.
        columns: of pixels.
        components: 1 for gray.
        precision: bits of a component.
    """

    rows: int
    columns: int
    components: int
    precision: int


def read_codestream(encoded: bytes) -> Codestream:
    """Read the size in a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    Args:
        encoded: of one image.

    Raises:
        ValueError: if it is none of these, or damaged before its size.
    """
    if encoded.startswith(JPEG_START):
        return _jpeg(encoded)
    # Some writers keep the boxes of a JP2 file around the codestream.
    start = encoded.find(JPEG2000_START, 0, 4096)
    if start >= 0:
        return _jpeg2000(encoded, start)
    raise ValueError("neither JPEG nor JPEG 2000")


def is_rle_of(encoded: bytes, segments: int, length: int) -> bool:
    """Whether RLE data holds exactly so many bytes; decoders fill up or leave out silently.

    Args:
        encoded: of one image.
        segments: bytes of a pixel, each of which is stored on its own.
        length: of a segment when decoded.
    """
    if len(encoded) < 64:
        return False
    count, *offsets = unpack_from("<16L", encoded)
    bounds = [*offsets[:segments], len(encoded)]
    if count != segments or bounds[0] < 64 or bounds != sorted(bounds):
        return False
    return all(_is_segment_of(encoded[a:b], length) for a, b in pairwise(bounds))


def _is_segment_of(segment: bytes, length: int) -> bool:
    position = 0
    while length > 0 and position < len(segment):
        head = segment[position]
        if head < 128:  # so many bytes and one more, as they are
            length -= head + 1
            position += head + 2
        elif head > 128:  # one byte, repeated
            length -= 257 - head
            position += 2
        else:
            position += 1
    # What is left is padding, if anything; a segment that was cut ends before its last byte.
    return length == 0 and position <= len(segment) and not segment[position:].strip(b"\0\x80")


def _jpeg(encoded: bytes) -> Codestream:
    position = 2
    while position + 9 < len(encoded):
        mark, kind = encoded[position], encoded[position + 1]
        if mark != 0xFF:
            break
        if kind == 0xFF:  # fill byte
            position += 1
        elif kind in _WITHOUT_LENGTH:
            position += 2
        elif kind in _START_OF_FRAME:
            precision, rows, columns, components = unpack_from(">BHHB", encoded, position + 4)
            return Codestream(rows, columns, components, precision)
        else:
            position += 2 + unpack_from(">H", encoded, position + 2)[0]
    raise ValueError("JPEG without a start of frame")


def _jpeg2000(encoded: bytes, start: int) -> Codestream:
    if len(encoded) < start + 43:
        raise ValueError("JPEG 2000 ends within its size")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components, depth = unpack_from(
        ">8LHB", encoded, start + 8
    )
    if not (tile_x and tile_y and tile_x0 <= x0 < x1 and tile_y0 <= y0 < y1):
        raise ValueError("JPEG 2000 of impossible size")
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if tiles > MOST_TILES:
        raise ValueError(f"JPEG 2000 of {tiles} tiles")
    return Codestream(y1 - y0, x1 - x0, components, (depth & 0x7F) + 1)
