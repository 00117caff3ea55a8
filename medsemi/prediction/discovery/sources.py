"""Where a DICOM case comes from, and what its headers alone say about it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from medsemi.prediction.case import SliceSource, Source
from medsemi.prediction.codes import CaseRefused, Finding
from medsemi.prediction.discovery.header import Frame, Header
from medsemi.prediction.options import Options
from medsemi.prediction.reading.pixels import decoder_plugin

_BITS = {8, 16, 32}
_BITS_OF_FLOATS = {0, 32, 64}


def dicom_source(
    headers: Sequence[Header],
    copies: Collection[Path] = (),
    slices: tuple[SliceSource, ...] = (),
    volume: int | None = None,
    volume_key: str = "",
) -> Source:
    """Describe the files of a case.

    Args:
        headers: of the files, at least one.
        copies: files left out because they hold the same.
        slices: see `Source`.
        volume: see `Source`.
        volume_key: see `Source`.
    """
    first = min(headers, key=lambda header: header.name)
    return Source(
        kind="dicom",
        modality=first.modality,
        path=first.path,
        name=first.name,
        files=len(headers) + len(copies),
        slices=slices,
        volume=volume,
        volume_key=volume_key,
        tags={**_tags(first), "carried": _carried(headers)},
    )


def _tags(header: Header) -> Mapping[str, Any]:
    reference = next((f.frame_of_reference for f in header.frames if f.frame_of_reference), "")
    return {
        **{key: value for key, value in header.tags.items() if key not in _ONLY_FOR_NAMES},
        "series_uid": header.series,
        "study_uid": header.study,
        "frame_of_reference_uid": reference,
        "transfer_syntax": header.transfer_syntax,
    }


def _carried(headers: Sequence[Header]) -> str:
    """Of all files together: any of them may have been corrected."""
    parts = sorted({header.tags.get("carried", "") for header in headers})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_ONLY_FOR_NAMES = {"patient_id", "study_date"}


def header_name(headers: Sequence[Header]) -> str:
    """Patient, date and series number, for those who ask for names from headers."""
    tags = min(headers, key=lambda header: header.name).tags
    parts = (tags.get(key, "") for key in ("patient_id", "study_date", "series_number"))
    return "_".join(part for part in parts if part)


def path_name(headers: Sequence[Header]) -> str:
    """Relative folder of the series, or the name of its first file where that has none."""
    first = min(header.name for header in headers)
    folder = Path(first).parent.as_posix()
    return first if folder == "." else folder


def short_pixels(headers: Sequence[Header]) -> list[Finding]:
    """R07 if pixel data of a file is certainly shorter than its header says."""
    short = sum(header.short for header in headers)
    return [Finding("R07", {"file": f"{short} of {len(headers)} files"})] if short else []


def unsupported_pixels(headers: Sequence[Header]) -> list[Finding]:
    """R08 or R09 if the values cannot be read."""
    if any(header.has_table for header in headers):
        return [Finding("R08", {"why": "values of a lookup table"})]
    for header in headers:
        if header.bits not in (_BITS_OF_FLOATS if header.floating else _BITS):
            return [Finding("R08", {"why": f"{header.bits} bits for each pixel"})]
    syntaxes = sorted({header.transfer_syntax for header in headers})
    return [finding for syntax in syntaxes if (finding := _missing_decoder(syntax))][:1]


def _missing_decoder(transfer_syntax: str) -> Finding | None:
    try:
        decoder_plugin(transfer_syntax)
    except CaseRefused as refused:
        return refused.finding
    return None


def warnings_of(
    headers: Sequence[Header], frames: Sequence[Frame], options: Options
) -> list[Finding]:
    """Warnings that need no geometry: W09, W10, W11, W22; W19 if a DICOM SEG is asked for."""
    captured = any(header.sop_class.startswith(_SECONDARY_CAPTURE) for header in headers)
    found = {
        "W09": any(header.burned_in for header in headers),
        "W10": captured,
        "W11": any(header.lossy for header in headers),
        "W22": any(header.photometric == "MONOCHROME1" for header in headers),
    }
    wanted = {"seg", "segmap"} & {*options.outputs}
    why = _why_no_segmentation_object(headers, frames) if wanted else ""
    findings = [Finding(code) for code, holds in found.items() if holds]
    return findings + ([Finding("W19", {"why": why})] if why else [])


_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def _why_no_segmentation_object(headers: Sequence[Header], frames: Sequence[Frame]) -> str:
    """What a DICOM SEG would have to refer to and is absent; empty if nothing is."""
    if not all(header.study and header.series for header in headers):
        return "study or series identifier is empty"
    if not all(frame.frame_of_reference for frame in frames):
        return "the images name no frame of reference"
    if not all(frame.uid for frame in frames):
        return "the images have no identifiers of their own"
    if len(headers) > 1 and any(header.grouped for header in headers):
        return "the slices lie in several multi-frame files"
    return ""
