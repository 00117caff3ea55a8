"""Whether a file holds as many pixel bytes as its header says, told without reading them.

pydicom reads a file that ends too early without a word.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

UNDEFINED = 0xFFFFFFFF
MOST_FRAGMENTS = 100_000
_NATIVE = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_ITEM = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The element of the pixel data.

    Attributes:
        tag: of the element.
        length: of its value in bytes, as it claims.
        offset: of its value in the file.
    """

    tag: int
    length: int
    offset: int


def is_short(
    file: BinaryIO, element: PixelElement, transfer_syntax: str, bits: int, frames: int
) -> bool:
    """Whether pixel data is certainly shorter than the header says.

    Args:
        file: open for reading.
        element: of the pixels.
        transfer_syntax: of the file; what a deflated one holds is not known here.
        bits: of all pixels of all frames.
        frames: number of frames.
    """
    left = file.seek(0, io.SEEK_END) - element.offset
    if transfer_syntax in _NATIVE:
        expected = (bits + 7) // 8
        return min(left, element.length) < expected
    if transfer_syntax == _DEFLATED or element.length != UNDEFINED:
        return False
    return _fragments_are_short(file, element.offset, left, frames)


def _fragments_are_short(file: BinaryIO, offset: int, left: int, frames: int) -> bool:
    """Whether a fragment is cut, or there are fewer fragments than frames."""
    end, fragments = offset + left, -1  # the first item is the table of offsets
    while fragments < MOST_FRAGMENTS:
        file.seek(offset)
        head = file.read(8)
        if head[:4] != _ITEM:
            return fragments < frames
        offset += 8 + int.from_bytes(head[4:8], "little")
        if offset > end:
            return True
        fragments += 1
    return False
