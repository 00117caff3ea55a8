"""The planes of one DICOM object, and what may tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medsemi.prediction.discovery import elements
from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.objects import part_of
from medsemi.prediction.discovery.tags import GE_BVALUE, SIEMENS_BVALUE, TAG

FARTHEST_MM, LARGEST_PIXEL_MM = 1e5, 1e3
# Directions are rounded in the file; what deviates more is no pair of directions.
LARGEST_DEVIATION = 0.05


def planes(
    dataset: Dataset, path: Path, matrix: tuple[int, int], claimed: int
) -> tuple[Frame, ...]:
    """The planes of an image.

    Args:
        dataset: its header.
        path: of its file.
        matrix: rows, columns.
        claimed: number of frames that the header claims.

    Returns:
        One frame for each plane. One without place stands for all planes of an object of several
        frames that does not describe each.

    Raises:
        ValueError: if the header describes another number of frames than it claims.
    """
    each = elements.items(dataset, TAG["PerFrameFunctionalGroupsSequence"])
    uid = elements.text(dataset, TAG["SOPInstanceUID"])
    reference = elements.text(dataset, TAG["FrameOfReferenceUID"])
    if not each:
        place = place_of(dataset, dataset, dataset) if claimed == 1 else None
        return (Frame(path, 0, uid, matrix, reference, place, _rescale(dataset), _keys(dataset)),)
    if len(each) != claimed:
        raise ValueError(f"{len(each)} frames are described, {claimed} claimed")
    shared = elements.first(dataset, TAG["SharedFunctionalGroupsSequence"])
    common, common_keys = _Groups(None, shared, dataset), _keys(dataset)
    frames = []
    for number, item in enumerate(each):
        groups = _Groups(item, shared, dataset) if len(item) else common
        keys = common_keys | _frame_keys(groups, number)
        frames.append(
            Frame(path, number, uid, matrix, reference, groups.place(), groups.rescale(), keys)
        )
    return tuple(frames)


def place_of(position: Dataset, orientation: Dataset, measures: Dataset) -> Place | None:
    """Where a plane lies, from the datasets that hold position, orientation and pixel spacing."""
    at = elements.numbers(position, TAG["ImagePositionPatient"], 3)
    directions = elements.numbers(orientation, TAG["ImageOrientationPatient"], 6)
    spacing = elements.numbers(measures, TAG["PixelSpacing"], 2)
    if at is None or directions is None or spacing is None:
        return None
    if max(map(abs, at)) > FARTHEST_MM or not 0 < min(spacing) <= max(spacing) < LARGEST_PIXEL_MM:
        return None
    pair = np.array(directions).reshape(2, 3)
    lengths = np.linalg.norm(pair, axis=1)
    if np.abs(lengths - 1).max() > LARGEST_DEVIATION or abs(pair[0] @ pair[1]) > LARGEST_DEVIATION:
        return None
    a, b, c, d, e, f = (pair / lengths[:, None]).ravel().tolist()
    return Place((at[0], at[1], at[2]), (a, b, c, d, e, f), (spacing[0], spacing[1]))


class _Groups:
    """Functional groups of a frame: its own, else the shared ones, else the top level."""

    def __init__(self, own: Dataset | None, shared: Dataset | None, top: Dataset) -> None:
        self.own, self.shared, self.top = own, shared, top

    def __call__(self, keyword: str) -> Dataset | None:
        tag = TAG[keyword]
        return elements.first(self.own, tag) or elements.first(self.shared, tag)

    def place(self) -> Place | None:
        return place_of(
            self("PlanePositionSequence") or self.top,
            self("PlaneOrientationSequence") or self.top,
            self("PixelMeasuresSequence") or self.top,
        )

    def rescale(self) -> tuple[str, str]:
        return _rescale(self("PixelValueTransformationSequence") or self.top)


def _rescale(dataset: Dataset) -> tuple[str, str]:
    return (
        elements.text(dataset, TAG["RescaleSlope"]),
        elements.text(dataset, TAG["RescaleIntercept"]),
    )


def _keys(dataset: Dataset) -> dict[str, Any]:
    """What tells images of single frames apart."""

    def number(keyword: str) -> float | None:
        return elements.number(dataset, TAG[keyword])

    component = elements.words(dataset, TAG["ComplexImageComponent"])
    b_value = elements.binary(dataset, TAG["DiffusionBValue"], "d")
    private = elements.number(dataset, GE_BVALUE)
    if private is not None:
        private %= 1e9
    return _known(
        echo=number("EchoTime"),
        echo_number=number("EchoNumbers"),
        it=part_of(component) or part_of(elements.words(dataset, TAG["ImageType"])[2:]),
        b=None if b_value is None else b_value[0],
        b_private=elements.number(dataset, SIEMENS_BVALUE) if private is None else private,
        direction=elements.binary(dataset, TAG["DiffusionGradientOrientation"], "d", 3),
        tp=number("TemporalPositionIdentifier"),
        acq=number("AcquisitionNumber"),
        trigger=number("TriggerTime"),
        acq_time=elements.text(dataset, TAG["AcquisitionDateTime"])
        or elements.text(dataset, TAG["AcquisitionTime"]),
        content_time=elements.text(dataset, TAG["ContentTime"]),
        instance=number("InstanceNumber"),
    )


def _frame_keys(groups: _Groups, number: int) -> dict[str, Any]:
    """What tells frames of one file apart, where it differs from the top level."""
    unassigned = groups("UnassignedPerFrameConvertedAttributesSequence")
    keys = {} if unassigned is None else _keys(unassigned)
    diffusion, content = groups("MRDiffusionSequence"), groups("FrameContentSequence")
    direction = elements.first(diffusion, TAG["DiffusionGradientDirectionSequence"])
    kind = groups("MRImageFrameTypeSequence") or groups("CTImageFrameTypeSequence")
    keys |= _known(
        echo=_binary(groups("MREchoSequence"), "EffectiveEchoTime", "d"),
        b=_binary(diffusion, "DiffusionBValue", "d"),
        direction=None
        if direction is None
        else elements.binary(direction, TAG["DiffusionGradientOrientation"], "d", 3),
        tp=_binary(content, "TemporalPositionIndex", "L"),
        acq=_binary(content, "FrameAcquisitionNumber", "H"),
        trigger=_binary(
            groups("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime", "d"
        ),
        acq_time="" if content is None else elements.text(content, TAG["FrameAcquisitionDateTime"]),
        it=None if kind is None else _part(kind),
    )
    return keys | {"instance": number}


def _part(kind: Dataset) -> str | None:
    component = part_of(elements.words(kind, TAG["ComplexImageComponent"]))
    return component or part_of(elements.words(kind, TAG["FrameType"])[2:])


def _binary(dataset: Dataset | None, keyword: str, code: str) -> float | None:
    found = None if dataset is None else elements.binary(dataset, TAG[keyword], code)
    return None if found is None else found[0]


def _known(**keys: Any) -> dict[str, Any]:  # noqa: ANN401  (numbers, texts, vectors)
    return {name: value for name, value in keys.items() if value not in (None, "")}
