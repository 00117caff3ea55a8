"""Stored values of DICOM images, whatever their compression, and a digest of them.

One decoder is fixed for each transfer syntax, so that values do not depend on what else happens to
be installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config, uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.codestream import is_rle_of, read_codestream
from medsemi.prediction.reading.dicom_file import ImageFile, open_image
from medsemi.prediction.reading.layout import PixelType, encoded_frame, frame_bytes, pixel_type
from medsemi.prediction.reading.silence import silence

# Plugin of pydicom, and the package that brings its decoder.
_GDCM = ("gdcm", "python-gdcm")
_OPENJPEG = ("pylibjpeg", "pylibjpeg-openjpeg")
_CHARLS = ("pyjpegls", "pyjpegls")
DECODERS: dict[str, tuple[str, str]] = {
    uid.JPEGBaseline8Bit: _GDCM,
    # The only decoder of 12 bit lossy JPEG is under the GPL: used if the user chose to install it.
    uid.JPEGExtended12Bit: ("pylibjpeg", "pylibjpeg-libjpeg (licence GPL-3.0)"),
    uid.JPEGLossless: _GDCM,
    uid.JPEGLosslessSV1: _GDCM,
    uid.JPEGLSLossless: _CHARLS,
    uid.JPEGLSNearLossless: _CHARLS,
    uid.JPEG2000Lossless: _OPENJPEG,
    uid.JPEG2000: _OPENJPEG,
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
    uid.RLELossless: ("pylibjpeg", "pylibjpeg-rle"),
}
NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
# A frame above the first bound must have at least one byte in the file for so many pixel bytes.
LARGE_FRAME_BYTES, LARGEST_RATIO = 1 << 26, 1000


def decoder_plugin(transfer_syntax: str) -> str:
    """The plugin of pydicom that decodes a transfer syntax; empty for uncompressed ones.

    Args:
        transfer_syntax: its UID.

    Raises:
        CaseRefused: R09 if the package is missing, R08 if nobody decodes this syntax.
    """
    syntax = uid.UID(transfer_syntax, config.IGNORE)  # a warning would repeat its text
    if syntax in NATIVE:
        return ""
    if syntax not in DECODERS:
        raise CaseRefused("R08", why=f"transfer syntax {_name(syntax)}")
    plugin, package = DECODERS[syntax]
    available = get_decoder(syntax).available_plugins
    if plugin in available:
        return plugin
    if syntax == uid.RLELossless and "pydicom" in available:  # equal values, slower
        return "pydicom"
    raise CaseRefused("R09", name=_name(syntax), package=package)


def _name(syntax: uid.UID) -> str:
    """Words for a known syntax; an unknown one may hold anything and is not repeated."""
    return "unknown" if syntax.name == syntax else syntax.name


@dataclass(frozen=True)
class Frames:
    """The frames of an open DICOM file, decoded one at a time.

    Attributes:
        image: the open file.
        pixels: type and size of its pixels.
        places: where each frame lies.
        plugin: that decodes them.
        name: what to call the file where it is refused; no part of a path.
    """

    image: ImageFile
    pixels: PixelType
    places: list[tuple[int, int]]
    plugin: str
    name: str

    def stored(self, index: int) -> NDArray[Any]:
        """Stored values of one frame, before rescaling.

        Args:
            index: from 0.

        Returns:
            (rows, columns), of `pixels.dtype`.

        Raises:
            CaseRefused: R07 if the data is damaged, R08 if it contradicts the header.
        """
        if not 0 <= index < len(self.places):
            raise CaseRefused("R07", file=self.name)
        if self.plugin:
            data = encoded_frame(self.image, self.places[index])
            self._check_size(data)
            data = encapsulate([data])
        else:
            data = self.image.bytes_at(*self.places[index])
        try:
            values = self._decode(data)
        except (MemoryError, KeyboardInterrupt, SystemExit):
            raise
        # Whatever a decoder makes of damaged data; those in Rust panic with a BaseException.
        except BaseException as error:
            raise CaseRefused("R07", file=self.name) from error
        return values.astype(self.pixels.dtype, copy=False)

    def _decode(self, data: bytes) -> NDArray[Any]:
        pixels = self.pixels
        options: dict[str, Any] = {
            "pixel_keyword": self.image.keyword,
            "rows": pixels.rows,
            "columns": pixels.columns,
            "number_of_frames": 1,
            "samples_per_pixel": 1,
            "photometric_interpretation": pixels.photometric,
            "bits_allocated": pixels.allocated,
            "bits_stored": pixels.stored,
            "pixel_representation": int(pixels.signed),
            "allow_excess_frames": False,
        }
        decoder = get_decoder(self.image.transfer_syntax)
        values, _ = decoder.as_array(
            data, index=0, raw=True, decoding_plugin=self.plugin, **options
        )
        return values

    def _check_size(self, data: bytes) -> None:
        """Nothing larger than the header says is decoded, and nothing huge from few bytes."""
        pixels = self.pixels
        if pixels.frame_bytes > max(LARGE_FRAME_BYTES, LARGEST_RATIO * len(data)):
            raise CaseRefused("R07", file=self.name)
        if self.image.transfer_syntax == uid.RLELossless:
            if not is_rle_of(data, pixels.allocated // 8, pixels.rows * pixels.columns):
                raise CaseRefused("R07", file=self.name)
            return
        try:
            found = read_codestream(data)
        except ValueError as error:
            raise CaseRefused("R07", file=self.name) from error
        if (found.rows, found.columns) != (pixels.rows, pixels.columns):
            raise CaseRefused("R08", why="compressed image of another size than the header says")
        if found.components != 1 or found.precision > pixels.allocated:
            raise CaseRefused("R08", why="compressed image of another type than the header says")


@contextmanager
def open_frames(path: Path, name: str = "image") -> Iterator[Frames]:
    """Open a DICOM image for decoding; sizes are checked, nothing is decoded yet.

    Args:
        path: of the file.
        name: what to call it where it is refused; no part of a path.

    Yields:
        Its frames.

    Raises:
        CaseRefused: U01, R07, R08 or R09.
    """
    with silence, open_image(path) as image:
        try:
            frames = _frames(image, name)
        except CaseRefused:
            raise
        # A damaged element raises what its bytes happen to be.
        except Exception as error:
            raise CaseRefused("U01") from error
        yield frames


def _frames(image: ImageFile, name: str) -> Frames:
    plugin = decoder_plugin(image.transfer_syntax)
    pixels = pixel_type(image)
    if not image.transfer_syntax.is_little_endian and pixels.allocated == 8:
        # In words of 16 bits (OW) pairs of pixels would be swapped.
        raise CaseRefused("R08", why="8 bits in big endian")
    return Frames(image, pixels, frame_bytes(image, pixels, name), plugin, name)


def pixel_digest(path: Path) -> str:
    """SHA-256 of the stored values of all frames, with their size and type.

    Equal for equal images in different compressions. Where the values are no gray values or are
    damaged it is that of the bytes of the file, so that exact copies are equal.

    Args:
        path: of a DICOM file.

    Raises:
        CaseRefused: R09 if a decoder is missing, so that the images cannot be compared.
        OSError: if the file cannot be read.
    """
    try:
        with open_frames(path) as frames:
            digest = hashlib.sha256(type_bytes(frames.pixels))
            for index in range(frames.pixels.frames):
                digest.update(little_endian(frames.stored(index)))
    except CaseRefused as refused:
        if refused.finding.code == "R09":
            raise
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def type_bytes(pixels: PixelType) -> bytes:
    """Size and type of pixels, to go into a digest before their values."""
    kind = "float" if pixels.floating else "signed" if pixels.signed else "unsigned"
    return f"{pixels.frames}x{pixels.rows}x{pixels.columns} {kind} {pixels.allocated}\n".encode()


def little_endian(values: NDArray[Any]) -> memoryview:
    """Bytes of values in rows, equal on every machine."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data
