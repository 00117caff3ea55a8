"""DICOM segmentations that refer to the source images, plane by plane.

Equal fingerprints give equal files: identifiers are derived from the fingerprint, and dates are those
of the source, so that a second run gives an archive nothing new.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless
from skimage.color import rgb2lab

from medsemi import __version__
from medsemi.prediction.case import Case
from medsemi.prediction.model import Label, Model
from medsemi.prediction.outputs.source_headers import (
    SourceHeaders,
    impossible_if_malformed,
)

Kind = Literal["BINARY", "LABELMAP"]
# One bit per voxel cannot be compressed; whole label maps are, with what highdicom itself installs.
TRANSFER_SYNTAX = {"BINARY": ExplicitVRLittleEndian, "LABELMAP": JPEGLSLossless}
UID_NAMESPACE = uuid.UUID("0d6c1f9e-52f3-4b0e-8f2a-6f1b6a1f7c55")
DISCLAIMER = "Research use only; not a medical device, not for diagnosis"
LONGEST = 64  # characters of a DICOM Long String
UNKNOWN_DATE, UNKNOWN_TIME = "19000101", "000000"
SERIES_NUMBERS_FROM = 900

# Its messages carry identifiers of images.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)


def write_seg(
    path: Path,
    case: Case,
    slice_labels: NDArray[np.unsignedinteger[Any]],
    headers: SourceHeaders,
    model: Model,
    fingerprint: str,
    kind: Kind,
) -> int:
    """Write labels as a DICOM segmentation.

    Planes without any label are left out. Where nothing was found at all, one empty plane, that of
    the middle slice, stands for that result.

    Args:
        path: the file to write.
        case: with its grid and `source.slices`.
        slice_labels: (column, row, source slice), 0 is background.
        headers: of the source slices.
        model: with the labels to describe.
        fingerprint: of the result; identifiers are derived from it.
        kind: `BINARY`, one frame per label and plane, or `LABELMAP`, one frame per plane.

    Returns:
        The number of frames.

    Raises:
        SegImpossible: if the headers of the source, or the codes of the labels, do not allow it.
        OSError: if the file cannot be written.
    """
    with impossible_if_malformed():
        seg = _build(case, slice_labels, headers, model, fingerprint, kind)
        seg.save_as(path)
    return int(seg.NumberOfFrames)


def _build(
    case: Case,
    slice_labels: NDArray[np.unsignedinteger[Any]],
    headers: SourceHeaders,
    model: Model,
    fingerprint: str,
    kind: Kind,
) -> Segmentation:
    pixels = slice_labels.transpose(2, 1, 0)
    images, frames, others = headers.images, headers.frames, None
    if not pixels.any():
        middle = len(pixels) // 2
        pixels, frames = pixels[middle : middle + 1], frames[middle : middle + 1]
        images, others = _one_plane(images, middle)
    first = headers.images[0]
    seg = Segmentation(
        source_images=images,
        further_source_images=others,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[_describe(label, model) for label in model.labels],
        series_instance_uid=_uid(fingerprint, case, kind, "series"),
        series_number=SERIES_NUMBERS_FROM + _series_number(first) % 100,
        sop_instance_uid=_uid(fingerprint, case, kind, "instance"),
        instance_number=1,
        manufacturer="medsemi",
        manufacturer_model_name=_long_string(model.name),
        software_versions=__version__,
        device_serial_number=_long_string(model.digest),
        content_description=DISCLAIMER,
        content_label="SEGMENTATION",
        series_description=_long_string(f"medsemi (research) {model.name}"),
        transfer_syntax_uid=TRANSFER_SYNTAX[kind],
    )
    seg.PatientName = headers.patient_name
    _make_repeatable(seg, first, _uid(fingerprint, case, kind, "dimensions"))
    _set_slice_distance(seg, case)
    _number_frames(seg, frames)
    return seg


def _one_plane(
    images: Sequence[Dataset], index: int
) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...] | None]:
    """The header of one plane, and those of the others."""
    if "PerFrameFunctionalGroupsSequence" not in images[0]:
        first, chosen = images[0], Dataset()
        chosen.update(first)
        chosen.update(images[index])
        return (chosen,), tuple(image for i, image in enumerate(images) if i != index)
    chosen = Dataset()
    chosen.update(images[0])
    chosen.PerFrameFunctionalGroupsSequence = [images[0].PerFrameFunctionalGroupsSequence[index]]
    chosen.NumberOfFrames = 1
    return (chosen,), None


def _describe(label: Label, model: Model) -> SegmentDescription:
    return SegmentDescription(
        segment_number=label.number,
        segment_label=_long_string(label.name),
        segmented_property_category=_concept(label.category),
        segmented_property_type=_concept(label.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_long_string(model.name),
            family=codes.DCM.ArtificialIntelligence,
            version=_long_string(model.version or "unknown"),
            source="medsemi",
            parameters={"sha256": model.digest},
        ),
        display_color=highdicom.color.CIELabColor(*rgb2lab(np.divide(label.color, 255))),
    )


def _concept(code: tuple[str, str, str]) -> CodedConcept:
    scheme, value, meaning = code
    return CodedConcept(value, scheme, meaning)


def _long_string(text: str) -> str:
    return text.replace("\\", "_")[:LONGEST]


def _series_number(first: Dataset) -> int:
    try:
        return int(first.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _uid(fingerprint: str, case: Case, kind: Kind, part: str) -> highdicom.UID:
    """Equal for equal results of the same series: a UUID made from a name, under root 2.25."""
    key = case.key.encode(errors="backslashreplace").decode()  # it may hold a name that is no UTF-8
    name = f"{fingerprint}|{key}|{kind}|{part}"
    return highdicom.UID.from_uuid(str(uuid.uuid5(UID_NAMESPACE, name)))


def _make_repeatable(seg: Dataset, first: Dataset, dimensions: str) -> None:
    """Replace what highdicom draws from clock and dice."""
    seg.ContentDate, seg.ContentTime = _content_date(first)
    del seg.InstanceCreationDate, seg.InstanceCreationTime
    seg.ContributingEquipmentSequence[-1].pop("ContributionDateTime", None)  # that of highdicom
    for item in (*seg.DimensionIndexSequence, *seg.DimensionOrganizationSequence):
        item.DimensionOrganizationUID = dimensions


def _content_date(first: Dataset) -> tuple[Any, Any]:
    """Date and time of the source image; the standard does not let them be empty."""
    for prefix in ("Content", "Acquisition", "Series", "Study"):
        date, time = first.get(f"{prefix}Date"), first.get(f"{prefix}Time")
        if date:
            return date, time or UNKNOWN_TIME
    return UNKNOWN_DATE, UNKNOWN_TIME


def _set_slice_distance(seg: Dataset, case: Case) -> None:
    """Of tilted stacks the tag of the source is wrong; uneven ones have no such distance."""
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    regular = np.allclose(case.slice_index, np.round(case.slice_index), atol=1e-3)
    if regular and case.grid is not None:
        measures.SpacingBetweenSlices = f"{case.grid.slice_distance:.10g}"
    else:
        measures.pop("SpacingBetweenSlices", None)


def _number_frames(seg: Dataset, frames: Sequence[int]) -> None:
    """Name frames of a multi-frame source by their number in the file, not among those kept."""
    # Frames of several labels on one plane share one reference: each is changed once.
    references = {
        id(reference): reference
        for item in (seg.PerFrameFunctionalGroupsSequence if frames else ())
        for derivation in item.DerivationImageSequence
        for reference in derivation.SourceImageSequence
    }
    for reference in references.values():
        reference.ReferencedFrameNumber = frames[int(reference.ReferencedFrameNumber) - 1]
