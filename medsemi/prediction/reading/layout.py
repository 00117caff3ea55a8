"""How pixels lie in a DICOM file: their type, and the bytes of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from struct import unpack

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.codestream import JPEG2000_START, JPEG_START
from medsemi.prediction.reading.dicom_file import UNDEFINED_LENGTH, ImageFile

_ITEM, _END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
MOST_FRAGMENTS = 1_000_000
MOST_PADDING = 512


@dataclass(frozen=True, slots=True)
class PixelType:
    """Size and type of the stored values of a file.

    Attributes:
        rows: of a frame.
        columns: of a frame.
        frames: in the file.
        allocated: bits of a stored value.
        stored: bits of it that count.
        signed: whether they are a two's complement.
        floating: whether they are floating point numbers.
        photometric: MONOCHROME1 or MONOCHROME2.
    """

    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    signed: bool
    floating: bool
    photometric: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of a decoded frame."""
        return prod((self.rows, self.columns, self.allocated // 8))

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the stored values, in the byte order of the machine."""
        return np.dtype(f"{'f' if self.floating else 'ui'[self.signed]}{self.allocated // 8}")


def pixel_type(image: ImageFile) -> PixelType:
    """Read and check the type of the pixels of a file.

    Args:
        image: an open file.

    Raises:
        CaseRefused: R08 if these are no gray values that a scanner writes.
    """
    header = image.header
    if "ModalityLUTSequence" in header:
        raise CaseRefused("R08", why="values of a lookup table")
    photometric = str(header.get("PhotometricInterpretation", "none"))
    if photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise CaseRefused("R08", why="color or palette picture")
    if whole(header, "SamplesPerPixel", 1) != 1:
        raise CaseRefused("R08", why="more than one value for each pixel")
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    frames = whole(header, "NumberOfFrames", 1) or 1
    if min(rows, columns, frames) < 1:
        raise CaseRefused("R08", why=f"{rows} × {columns} pixels in {frames} frames")
    floating = image.keyword in _FLOAT_BITS
    allocated = _FLOAT_BITS.get(image.keyword) or whole(header, "BitsAllocated")
    stored = allocated if floating else whole(header, "BitsStored", allocated)
    signed = floating or bool(_one_of(header, "PixelRepresentation", (0, 1)))
    if not floating:
        _check_bits(allocated, stored, whole(header, "HighBit", stored - 1))
    return PixelType(rows, columns, frames, allocated, stored, signed, floating, photometric)


def whole(header: Dataset, keyword: str, default: int | None = None) -> int:
    """A whole number of a header.

    Args:
        header: of an image.
        keyword: of an element.
        default: where the element is absent or empty; None refuses.

    Raises:
        CaseRefused: R08 if it is absent or no single whole number.
    """
    try:
        value = header.get(keyword)
        if value is None and default is not None:
            return default
        return int(value)
    # A damaged element raises what its bytes happen to be.
    except Exception as error:
        raise CaseRefused("R08", why=f"no {keyword}") from error


def _one_of(header: Dataset, keyword: str, accepted: Sequence[int]) -> int:
    value = whole(header, keyword)
    if value not in accepted:
        raise CaseRefused("R08", why=f"{keyword} is {value}")
    return value


def _check_bits(allocated: int, stored: int, high: int) -> None:
    if allocated not in {8, 16, 32}:
        raise CaseRefused("R08", why=f"{allocated} bits for each pixel")
    if not 1 <= stored <= allocated or high != stored - 1:
        raise CaseRefused("R08", why=f"{stored} bits up to bit {high} of {allocated}")


def frame_bytes(image: ImageFile, pixels: PixelType, name: str) -> list[tuple[int, int]]:
    """Where each frame lies, uncompressed or compressed.

    A compressed frame of several fragments spans their item headers too: see `encoded_frame`.

    Args:
        image: an open file.
        pixels: of it.
        name: what to call the file where it is refused; no part of a path.

    Returns:
        For each frame offset and length, within the value of the pixel element.

    Raises:
        CaseRefused: R07 if bytes are missing, R08 if they contradict the header otherwise.
    """
    if image.transfer_syntax.is_encapsulated != (image.length == UNDEFINED_LENGTH):
        raise CaseRefused("R08", why="compressed data under another transfer syntax")
    if image.transfer_syntax.is_encapsulated:
        return _encapsulated(image, pixels, name)
    expected = pixels.frame_bytes * pixels.frames
    if image.available < image.length or image.length < expected:
        raise CaseRefused("R07", file=name)
    if not _is_padding(image, pixels, expected):
        raise CaseRefused("R08", why="more pixel data than the header accounts for")
    return [(i * pixels.frame_bytes, pixels.frame_bytes) for i in range(pixels.frames)]


def _is_padding(image: ImageFile, pixels: PixelType, expected: int) -> bool:
    """Whether what follows the last frame is filling, and no row or column of a larger image."""
    excess = image.length - expected
    if excess < max(2, min(pixels.rows, pixels.columns) * pixels.allocated // 8):
        return True
    return excess <= MOST_PADDING and not any(image.bytes_at(expected, excess))


def _encapsulated(image: ImageFile, pixels: PixelType, name: str) -> list[tuple[int, int]]:
    table, *fragments = _items(image, name)
    offsets = _offsets(image, table, fragments)
    if pixels.frames == 1 and len(offsets) <= 1 and _is_one_frame(image, fragments):
        starts = [0]
    elif len(offsets) == pixels.frames:
        starts = offsets
    elif not offsets and len(fragments) == pixels.frames:
        starts = list(range(len(fragments)))
    elif not offsets and len(fragments) < pixels.frames:
        raise CaseRefused("R07", file=name)
    else:
        raise CaseRefused("R08", why="the frames of the compressed data cannot be told apart")
    ends = [*starts[1:], len(fragments)]
    return [
        (fragments[first][0] - 8, sum(fragments[last - 1]) - fragments[first][0] + 8)
        for first, last in zip(starts, ends, strict=True)
    ]


def _is_one_frame(image: ImageFile, fragments: Sequence[tuple[int, int]]) -> bool:
    """Whether the fragments hold one image: RLE is never split, a second JPEG begins with a mark."""
    if image.transfer_syntax == RLELossless:
        return len(fragments) == 1
    return not any(
        image.bytes_at(offset, 4).startswith((JPEG_START, JPEG2000_START))
        for offset, _ in fragments[1:]
    )


def _items(image: ImageFile, name: str) -> list[tuple[int, int]]:
    """Offset and length of the value of each item, of which the first is a table of offsets."""
    items: list[tuple[int, int]] = []
    position = 0
    while len(items) <= MOST_FRAGMENTS:
        head = image.bytes_at(position, 8)
        if head[:4] == _END_OF_ITEMS and len(head) == 8:
            break
        length = unpack("<L", head[4:])[0] if head[:4] == _ITEM and len(head) == 8 else None
        if length is None or position + 8 + length > image.available:
            raise CaseRefused("R07", file=name)
        items.append((position + 8, length))
        position += 8 + length
    if not 2 <= len(items) <= MOST_FRAGMENTS:
        raise CaseRefused("R07", file=name)
    return items


def _offsets(
    image: ImageFile, table: tuple[int, int], fragments: Sequence[tuple[int, int]]
) -> list[int]:
    """Index of the first fragment of each frame, as far as a table in the file tells."""
    extended = image.header.get("ExtendedOffsetTable")
    raw, size = (extended, 8) if extended else (image.bytes_at(*table), 4)
    relative = np.frombuffer(raw[: len(raw) // size * size], f"<u{size}").tolist()
    known = {offset - fragments[0][0]: i for i, (offset, _) in enumerate(fragments)}
    starts = [known.get(offset, -1) for offset in relative]
    if starts and (starts[0] != 0 or any(b <= a for a, b in pairwise(starts))):
        raise CaseRefused("R08", why="the table of frames does not fit the compressed data")
    return starts


def encoded_frame(image: ImageFile, place: tuple[int, int]) -> bytes:
    """The codestream of one compressed frame, its fragments joined.

    Args:
        image: an open file.
        place: from `frame_bytes`.
    """
    raw = image.bytes_at(*place)
    parts, position = [], 0
    while position < len(raw):
        (length,) = unpack("<4xL", raw[position : position + 8])
        parts.append(raw[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(parts)
