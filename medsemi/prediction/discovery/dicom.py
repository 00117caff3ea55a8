"""Headers of DICOM files, read so that no file can crash, hang or fill the memory.

A file is parsed from its first bytes held in memory: a length that a damaged header claims cannot
make the parser allocate more than that. Only if the header goes on is more of the file read.
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag

from medsemi.prediction.discovery import elements, objects
from medsemi.prediction.discovery.header import Header
from medsemi.prediction.discovery.pixel_length import PixelElement, is_short
from medsemi.prediction.discovery.planes import planes
from medsemi.prediction.discovery.tags import CARRIED, PIXELS, READ, TAG, TRANSFER_SYNTAX

# A common header ends in the first; one larger than the last belongs to no image that we know.
CHUNKS = (1 << 16, 1 << 20, 1 << 24, 1 << 26)
LARGEST_INFLATED = 1 << 25
DEFLATED = b"1.2.840.10008.1.2.1.99"
LONGEST_CODE_WORD = 16
# Head, feet, left, right, front or back first; prone, supine or on a side (PS3.3 C.7.3.1.1.2).
_POSITION = re.compile("[HFLRAP]F(P|S|DR|DL)")
_LONG_VRS = {b"OB", b"OW", b"UN", b"UT"}


class UnreadableFileError(Exception):
    """A file claims to be an image and is none that can be read (U01)."""


def read_header(path: Path, name: str) -> Header | None:
    """Read what is known of a DICOM file without its pixels.

    Args:
        path: of the file.
        name: path relative to the INPUT.

    Returns:
        None for a directory of files (DICOMDIR).

    Raises:
        UnreadableFileError: if the file is damaged, or no DICOM object.
    """
    try:
        with path.open("rb") as file:
            dataset, syntax, pixels = _parse(file)
            if _is_directory(dataset):
                return None
            return _header(path, name, dataset, syntax, pixels, file)
    # A damaged file can raise anything in a parser; nested sequences exhaust the stack of Python.
    except Exception as error:
        raise UnreadableFileError(type(error).__name__) from error


class _PixelStop:
    """Ends parsing at the pixel data, or behind its place, and remembers the element there."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.reached = stream, False
        self.element: PixelElement | None = None

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) < PIXELS[0]:
            return False
        self.reached = True
        if int(tag) in PIXELS:
            self.element = PixelElement(int(tag), length, self.stream.tell())
        return True


def _parse(file: BinaryIO) -> tuple[Dataset, str, PixelElement | None]:
    """Dataset up to the pixels, transfer syntax, pixel element."""
    size = file.seek(0, io.SEEK_END)
    for chunk in CHUNKS:
        file.seek(0)
        try:
            dataset, syntax, stop = _parse_start(file.read(chunk))
        except Exception:
            if chunk < size:
                continue  # an element may have been cut
            raise
        sop_class = elements.text(dataset, TAG["SOPClassUID"])
        if stop.reached or chunk >= size or objects.is_other_class(sop_class):
            return dataset, syntax, stop.element
    raise UnreadableFileError("the header does not end")


def _parse_start(start: bytes) -> tuple[Dataset, str, _PixelStop]:
    # pydicom inflates a deflated file whole, whatever its size, so that is done here.
    inflated = _inflate(start) if DEFLATED in start else None
    stream = io.BytesIO(start if inflated is None else inflated)
    stop = _PixelStop(stream)
    if inflated is not None:
        dataset = read_dataset(stream, False, True, stop_when=stop, specific_tags=READ)
        return dataset, DEFLATED.decode(), stop
    file = read_partial(stream, stop_when=stop, force=True, specific_tags=READ)
    return file, elements.text(file.file_meta, TRANSFER_SYNTAX) or _guess(file), stop


def _guess(dataset: Dataset) -> str:
    """The transfer syntax that pydicom parsed a file by which states none."""
    implicit, little = dataset.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _inflate(start: bytes) -> bytes | None:
    """The dataset of a deflated file, as far as it goes; None if the file is not deflated."""
    stream = io.BytesIO(start)
    if stream.read(132)[128:] != b"DICM":
        stream.seek(0)
    syntax = b""
    while True:
        begin = stream.tell()
        head = stream.read(8)
        if head[:2] != b"\x02\x00":
            break
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in _LONG_VRS:
            length = int.from_bytes(stream.read(4), "little")
        value = stream.read(length)
        syntax = value.rstrip(b"\0 ") if head[2:4] == b"\x10\x00" else syntax
    if syntax != DEFLATED:
        return None
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start[begin:], LARGEST_INFLATED)


def _is_directory(dataset: Dataset) -> bool:
    meta: Any = getattr(dataset, "file_meta", None)
    classes = {elements.text(dataset, TAG["SOPClassUID"])}
    if meta is not None:
        classes.add(elements.text(meta, 0x00020002))
    return objects.DIRECTORY in classes or TAG["DirectoryRecordSequence"] in dataset


def _header(
    path: Path,
    name: str,
    dataset: Dataset,
    syntax: str,
    pixels: PixelElement | None,
    file: BinaryIO,
) -> Header:
    def text(keyword: str) -> str:
        return elements.text(dataset, TAG[keyword])

    # First of all: what asks for a text converts it.
    carried = elements.digest(dataset, [TAG[keyword] for keyword in CARRIED])
    sop_class = text("SOPClassUID")
    if not sop_class:
        raise UnreadableFileError("no SOP class")
    rows, columns = elements.whole(dataset, TAG["Rows"]), elements.whole(dataset, TAG["Columns"])
    if objects.is_image_class(sop_class) and not (rows and columns and pixels):
        raise UnreadableFileError("an image without rows, columns or pixels")
    frames = max(int(elements.number(dataset, TAG["NumberOfFrames"]) or 1), 1)
    bits = elements.whole(dataset, TAG["BitsAllocated"])
    samples = elements.whole(dataset, TAG["SamplesPerPixel"]) or 1
    is_image = bool(rows and columns and pixels) and not objects.is_other_class(sop_class)
    return Header(
        path=path,
        name=name,
        folder=str(path.parent),
        sop_class=sop_class,
        uid=text("SOPInstanceUID"),
        study=text("StudyInstanceUID"),
        series=text("SeriesInstanceUID"),
        modality=_modality(text("Modality").upper()),
        image_type=elements.words(dataset, TAG["ImageType"]),
        photometric=text("PhotometricInterpretation").upper(),
        conversion=TAG["ConversionType"] in dataset,
        transfer_syntax=syntax,
        bits=bits,
        floating=pixels is not None and pixels.tag != PIXELS[-1],
        has_pixels=pixels is not None,
        short=is_image
        and pixels is not None
        and is_short(file, pixels, syntax, rows * columns * samples * bits * frames, frames),
        claimed=frames,
        grouped=TAG["PerFrameFunctionalGroupsSequence"] in dataset,
        burned_in=text("BurnedInAnnotation").upper() == "YES",
        lossy=text("LossyImageCompression") == "01" or syntax in objects.LOSSY_SYNTAXES,
        has_table=bool(elements.items(dataset, TAG["ModalityLUTSequence"])),
        patient=_patient(dataset),
        tags=_tags(dataset) | {"carried": carried},
        frames=planes(dataset, path, (rows, columns), frames) if is_image else (),
    )


def _modality(text: str) -> str:
    """A modality is shown to people: what is no code word is left out."""
    return text if len(text) <= LONGEST_CODE_WORD and text.isalnum() else ""


def _patient_position(text: str) -> str:
    """Such as HFS: it is shown to people, so that any other text, which may name one, is left out."""
    return text if _POSITION.fullmatch(text) else ""


def _patient(dataset: Dataset) -> tuple[str, ...]:
    """What names a patient, however it is encoded: separators at its end say nothing."""
    keywords = ("PatientName", "PatientID", "PatientBirthDate")
    texts = (elements.free_text(dataset, TAG[keyword]) for keyword in keywords)
    return tuple(text.rstrip("^= ").casefold() for text in texts)


def _tags(dataset: Dataset) -> dict[str, str]:
    plain = {
        "series_number": "SeriesNumber",
        "body_part": "BodyPartExamined",
        "study_date": "StudyDate",
    }
    free = {
        "series_description": "SeriesDescription",
        "manufacturer": "Manufacturer",
        "patient_id": "PatientID",
    }
    return {
        "patient_position": _patient_position(elements.text(dataset, TAG["PatientPosition"])),
        **{key: elements.text(dataset, TAG[keyword]) for key, keyword in plain.items()},
        **{key: elements.free_text(dataset, TAG[keyword]) for key, keyword in free.items()},
    }
