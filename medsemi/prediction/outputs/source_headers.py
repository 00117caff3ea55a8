"""Headers of the source images, made fit for a DICOM segmentation that refers to them.

Scanners and anonymizers leave out what the standard asks for. What may be empty is emptied; what must
not be invented, such as the frame of reference, makes a segmentation impossible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.valuerep import PersonName

from medsemi.prediction.case import Case, SliceSource
from medsemi.prediction.outputs.taken_over import OF_FIRST, PER_IMAGE

# More than any real header has. An exception in pydicom doubles its text at each level of nesting.
MOST_LEVELS = 8
# Attributes that the standard wants to be present, if only empty.
MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
# What highdicom accepts in attributes of which archives hold anything; the rest is emptied.
ACCEPTED = {
    "PatientSex": re.compile("[MFO]"),
    "PatientBirthDate": re.compile(r"\d{8}"),
    "StudyDate": re.compile(r"\d{8}"),
    "StudyTime": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
}
GEOMETRY = {
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
}


class SegImpossible(Exception):  # noqa: N818  (the case still counts)
    """No valid segmentation object can be made; the message says why, in plain words."""


@contextmanager
def impossible_if_malformed() -> Iterator[None]:
    """Turn what a library raises at a malformed header into the reason why there is no object.

    Raises:
        SegImpossible: without the message of the library, which may hold values of the header.
    """
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = f"the headers do not meet the DICOM standard ({type(error).__name__})"
        raise SegImpossible(reason) from error


@dataclass(frozen=True)
class SourceHeaders:
    """What highdicom needs of the source.

    Attributes:
        images: one dataset per slice, in the order of `Case.source.slices`; of a multi-frame file
            one dataset that holds the frames of the case alone, in that order.
        frames: of a multi-frame file, the true number (from 1) of each frame; else empty.
        patient_name: taken out of `images`, since highdicom prints it where it looks unusual.
    """

    images: tuple[Dataset, ...]
    frames: tuple[int, ...]
    patient_name: PersonName | str | None


def read_source_headers(case: Case) -> SourceHeaders:
    """Read the headers of the images of a case, without pixels, and complete them.

    Args:
        case: with `source.slices`.

    Raises:
        SegImpossible: if an identifier is missing, the slices lie in several multi-frame files, or
            a header is malformed.
        OSError: if a file cannot be read.
    """
    with impossible_if_malformed():
        return _read_all(case)


def _read_all(case: Case) -> SourceHeaders:
    slices = case.source.slices
    first = _read(slices[0].path, OF_FIRST)
    _check_nesting(first)
    _check_identifiers(first)
    if not all(each.uid for each in slices):
        raise SegImpossible("some images carry no identifier of their own")
    name = first.get("PatientName")
    _complete(first)
    frames: tuple[int, ...] = ()
    if "PerFrameFunctionalGroupsSequence" in first:
        if len({each.path for each in slices}) > 1:
            raise SegImpossible("the slices lie in several multi-frame files")
        frames = tuple(each.frame + 1 for each in slices)
        _keep_frames(first, slices)
        images = [first]
    else:
        images = [first, *(_read(each.path, PER_IMAGE) for each in slices[1:])]
        _align(images)
    _add_thickness(images[0], case)
    return SourceHeaders(tuple(images), frames, name)


def _read(path: Path, keywords: Sequence[str]) -> Dataset:
    return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(keywords))


def _check_nesting(first: Dataset) -> None:
    """Convert everything level by level, so that no walk through it meets a malformed element."""
    level = [first]
    for _ in range(MOST_LEVELS):
        elements = [element for dataset in level for element in dataset]
        level = [item for element in elements if element.VR == "SQ" for item in element.value]
        if not level:
            return
    raise SegImpossible(f"the headers nest sequences more than {MOST_LEVELS} deep")


def _check_identifiers(first: Dataset) -> None:
    for keyword, meaning in (
        ("StudyInstanceUID", "study"),
        ("SeriesInstanceUID", "series"),
        ("SOPInstanceUID", "image"),
        ("FrameOfReferenceUID", "frame of reference"),
    ):
        if not first.get(keyword):
            raise SegImpossible(f"the images carry no identifier of their {meaning}")


def _complete(first: Dataset) -> None:
    """Decode all text, drop private tags, and make empty what is absent or malformed."""
    first.decode()
    first.SpecificCharacterSet = "ISO_IR 192"
    first.remove_private_tags()
    for keyword in MAY_BE_EMPTY:
        value = first.get(keyword)
        accepted = ACCEPTED.get(keyword)
        if value is None or (accepted and not accepted.fullmatch(str(value))):
            setattr(first, keyword, None)
    first.PatientName = None


def _keep_frames(image: Dataset, slices: Sequence[SliceSource]) -> None:
    """Leave the frames of a case, each with its position; what they share comes from the first."""
    everything = image.PerFrameFunctionalGroupsSequence
    shared = image.get("SharedFunctionalGroupsSequence") or [Dataset()]

    def group(frame: int, name: str) -> Dataset:
        for place in (everything[frame], shared[0]):
            if place.get(name):
                return _copy(place[name].value[0], GEOMETRY[name])
        return _copy(image, GEOMETRY[name])

    kept = Dataset()
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        setattr(kept, name, [group(slices[0].frame, name)])
    frames = []
    for each in slices:
        item = Dataset()
        item.PlanePositionSequence = [group(each.frame, "PlanePositionSequence")]
        frames.append(item)
    image.SharedFunctionalGroupsSequence = [kept]
    image.PerFrameFunctionalGroupsSequence = frames
    image.NumberOfFrames = len(frames)


def _copy(source: Dataset, keywords: Sequence[str]) -> Dataset:
    copy = Dataset()
    for keyword in keywords:
        if source.get(keyword) is not None:
            setattr(copy, keyword, source.get(keyword))
    return copy


def _align(images: Sequence[Dataset]) -> None:
    """Write orientations that differ by rounding as one, and one character set for all."""
    for image in images[1:]:
        image.ImageOrientationPatient = images[0].ImageOrientationPatient
        image.SpecificCharacterSet = images[0].SpecificCharacterSet


def _add_thickness(first: Dataset, case: Case) -> None:
    """Where the thickness of slices is unknown, their distance takes its place."""
    place = (
        first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        if "SharedFunctionalGroupsSequence" in first
        else first
    )
    if not place.get("SliceThickness") and case.grid is not None:
        place.SliceThickness = f"{case.grid.slice_distance:.6g}"
