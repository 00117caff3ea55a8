"""What kind of thing one DICOM object is, before objects are grouped."""

from __future__ import annotations

import re

from pydicom._uid_dict import UID_dictionary

from medsemi.prediction.discovery.header import Header

DIRECTORY = "1.2.840.10008.1.3.10"
LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near lossless
}
LEAST_CAPTURED_POSITIONS = 10
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_CAPTURE = re.compile(re.escape(_STORAGE) + r"7(\.\d+)*")
# Presentation states, structured reports, waveforms, raw data, registrations, segmentations,
# spectroscopy, parametric maps, plans and doses, encapsulated documents, measurements, protocols.
_OTHER = re.compile(
    re.escape(_STORAGE)
    + r"(4\.2|9|11|30|66|67|68|77\.1\.5\.3|78|79|80|81|82|88|90|104|131|200|201|481)(\.\d+)*"
)
_GRAY = {"MONOCHROME1", "MONOCHROME2"}
_PARTS = {"P": "P", "PHASE": "P", "R": "R", "REAL": "R", "I": "I", "IMAGINARY": "I"}
_MAGNITUDE = {"M", "MAGNITUDE", "MIXED"}
_PROJECTIONS = {"MIP", "MNIP", "MINIP"}


def is_other_class(sop_class: str) -> bool:
    """Whether objects of this SOP class are no images of a scanner."""
    return _OTHER.fullmatch(sop_class) is not None


def is_image_class(sop_class: str) -> bool:
    """Whether the standard says that objects of this SOP class hold pixels."""
    known = UID_dictionary.get(sop_class)
    return known is not None and "Image Storage" in known[0] and not is_other_class(sop_class)


def kind_of(header: Header) -> str:
    """What an object is, by itself.

    Returns:
        One of the classes `not_image`, `screenshot`, `mosaic`, `localizer`; `capture` for a gray
        secondary capture that may turn out to be a volume; `no_geometry`; `image`.
    """
    if is_other_class(header.sop_class) or not header.frames:
        return "not_image"
    if _is_screenshot(header):
        return "capture" if _may_be_volume(header) else "screenshot"
    if {"MOSAIC", "VFRAME"} & set(header.image_type):
        return "mosaic"
    if "LOCALIZER" in header.image_type:
        return "localizer"
    return "image" if header.placed else "no_geometry"


def is_projection(image_type: tuple[str, ...]) -> bool:
    """Whether an image is a projection through many slices."""
    if "PROJECTION IMAGE" in image_type:
        return True
    return any(_PROJECTIONS & set(re.split(r"[^A-Z]+", value)) for value in image_type)


def part_of(values: tuple[str, ...]) -> str | None:
    """Part of a complex image that the values of an image or frame type name: M, P, R or I."""
    for value in values:
        if value in _MAGNITUDE:
            return "M"
        if value in _PARTS:
            return _PARTS[value]
    return None


def _is_screenshot(header: Header) -> bool:
    if header.photometric not in _GRAY:
        return True
    if _CAPTURE.fullmatch(header.sop_class):
        return True
    return header.conversion and not header.placed


def _may_be_volume(header: Header) -> bool:
    overview = any(re.search("REF|SURV|LOCALIZER|SCOUT|TOPO", value) for value in header.image_type)
    return (
        header.photometric in _GRAY
        and header.placed
        and header.modality in {"CT", "MR", "PT"}
        and not overview
    )
