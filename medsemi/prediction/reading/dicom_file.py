"""A DICOM file with an image: its pixel header, and where the bytes of each frame lie.

Nothing is taken from the file that is not in it: lengths and counts that a header claims are
compared with the bytes that are there before anything is read or allocated.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import unpack
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medsemi.prediction.codes import CaseRefused

PIXEL_KEYWORDS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
UNDEFINED_LENGTH = 0xFFFFFFFF
# Real images deflate to a third; an empty one to a thousandth, which fits into the least.
LARGEST_INFLATION, LEAST_INFLATED_BYTES = 100, 1 << 26
# What is read of a header: values, and what tells how pixels are stored.
HEADER_TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in (
        "SOPClassUID",
        "Modality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "ModalityLUTSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    )
]


class BoundedReader(io.BufferedReader):
    """A file that never allocates more for a read than is left in it.

    `read(n)` of the standard library allocates n bytes first, and n may be a length from a damaged
    header.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most `size` bytes, all that is left for -1 or None."""
        left = max(self.size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


@dataclass(frozen=True)
class ImageFile:
    """An open DICOM file.

    Attributes:
        header: elements of `HEADER_TAGS` that stand before the pixel data.
        transfer_syntax: of the file; guessed as pydicom does where the file does not say.
        keyword: of the pixel element.
        vr: value representation of the pixel element; empty for implicit encodings.
        length: of the pixel element, as it claims; `UNDEFINED_LENGTH` for fragments.
        offset: of its value in `stream`.
        available: bytes from `offset` to the end.
        stream: positioned anywhere; of a deflated file, what it holds.
    """

    header: Dataset
    transfer_syntax: UID
    keyword: str
    vr: str
    length: int
    offset: int
    available: int
    stream: BinaryIO

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Bytes of the pixel element, from `offset` in its value; fewer where the file ends."""
        self.stream.seek(self.offset + offset)
        return self.stream.read(max(min(length, self.available - offset), 0))


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Open a DICOM file up to its pixel data.

    Args:
        path: of the file, with or without preamble.

    Yields:
        The header and where the pixels are.

    Raises:
        CaseRefused: U01 if the file cannot be parsed, R07 if it ends before its pixel data.
    """
    try:
        stream: BinaryIO = BoundedReader(path)
    except OSError as error:
        raise CaseRefused("U01") from error
    with stream:
        try:
            image = _parse(stream)
        # A damaged header can raise anything, nested sequences exhaust the stack of Python.
        except (Exception, RecursionError) as error:
            if isinstance(error, CaseRefused):
                raise
            raise CaseRefused("U01") from error
        yield image


class _StopAtPixels:
    """Ends parsing at the pixel data and remembers what its element says and where its value is."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.tag, self.vr, self.length, self.offset = 0, "", 0, 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag not in PIXEL_KEYWORDS:
            return False
        # The place is that of the parser: a file may be encoded otherwise than it says.
        self.tag, self.vr, self.length = int(tag), vr or "", length
        self.offset = self.stream.tell()
        return True


def _parse(stream: BinaryIO) -> ImageFile:
    syntax, start = _transfer_syntax(stream)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _inflated(stream, start)
    stop = _StopAtPixels(stream)
    if syntax == DeflatedExplicitVRLittleEndian:
        header = read_dataset(stream, False, True, stop_when=stop, specific_tags=HEADER_TAGS)
    else:
        stream.seek(0)
        header = read_partial(stream, stop_when=stop, force=True, specific_tags=HEADER_TAGS)
    if not stop.tag:
        raise CaseRefused("R07", file="no pixel data")
    if not syntax:
        implicit, little = header.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        syntax = syntax if little else ExplicitVRBigEndian
    end = stream.seek(0, io.SEEK_END)
    return ImageFile(
        header,
        UID(syntax),
        PIXEL_KEYWORDS[stop.tag],
        stop.vr,
        stop.length,
        stop.offset,
        max(end - stop.offset, 0),
        stream,
    )


def _transfer_syntax(stream: BinaryIO) -> tuple[str, int]:
    """Transfer syntax in the file meta information, or an empty text, and where the dataset starts.

    Read here because pydicom inflates a deflated file whole, whatever its size, before it returns.
    """
    if stream.read(132)[128:] != b"DICM":
        return "", 0
    syntax = ""
    while True:
        start = stream.tell()
        head = stream.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            return syntax, start
        element, vr, length = unpack("<2xH2sH", head)
        if vr in {b"OB", b"OW", b"UN", b"UT"}:
            (length,) = unpack("<L", stream.read(4))
        value = stream.read(length)
        if element == 0x0010:
            syntax = value.decode("ascii").rstrip("\0 ")


def _inflated(stream: BinaryIO, start: int) -> io.BytesIO:
    stream.seek(start)
    deflated = stream.read()
    limit = max(LARGEST_INFLATION * len(deflated), LEAST_INFLATED_BYTES)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    dataset = inflater.decompress(deflated, limit)
    if not inflater.eof:
        raise CaseRefused("R07", file="deflated data ends early or is far too long")
    return io.BytesIO(dataset)
