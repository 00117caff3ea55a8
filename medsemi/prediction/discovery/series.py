"""The cases of one DICOM series: its objects by kind, its stacks, and the volumes of each stack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery import sources
from medsemi.prediction.discovery.draft import Draft
from medsemi.prediction.discovery.duplicates import Distinct, drop_copies
from medsemi.prediction.discovery.grouping import patients_of
from medsemi.prediction.discovery.header import Frame, Header
from medsemi.prediction.discovery.lattice import measure
from medsemi.prediction.discovery.objects import LEAST_CAPTURED_POSITIONS, kind_of
from medsemi.prediction.discovery.stack_cases import Stack, place_of
from medsemi.prediction.discovery.stacks import Position, are_overview, split_stacks
from medsemi.prediction.options import Options

_CODES = {
    "not_image": "S02",
    "screenshot": "S03",
    "localizer": "S04",
    "mosaic": "S06",
    "no_geometry": "S07",
}


@dataclass(frozen=True)
class Series:
    """All objects of one series.

    Attributes:
        key: stable identity: the series UID, or the folder where it is empty.
        headers: of the objects, in any order.
        options: of the user.
        least: fewer positions are no volume; `LEAST_POSITIONS` or more.
    """

    key: str
    headers: Sequence[Header]
    options: Options
    least: int

    def drafts(self) -> list[Draft]:
        """The cases; every object is in exactly one."""
        kinds: dict[str, list[Header]] = defaultdict(list)
        for header in self.headers:
            kinds[kind_of(header)].append(header)
        captures = kinds.pop("capture", [])
        if captures:
            kinds["image" if _is_volume(captures) else "screenshot"] += captures
        images = kinds.pop("image", [])
        aside = sum(len(header.frames) for members in kinds.values() for header in members)
        drafts = self._images(images, aside) if images else []
        return drafts + [self._skipped(kind, kinds[kind]) for kind in sorted(kinds)]

    def _skipped(self, kind: str, headers: Sequence[Header]) -> Draft:
        """One case of all objects of a kind that is no candidate."""
        findings = [Finding(_CODES[kind]), *sources.short_pixels(headers)]
        flags = ("single", kind) if kind == "no_geometry" else (kind,)
        return self._together(kind, headers, flags, findings)

    def _images(self, headers: Sequence[Header], aside: int) -> list[Draft]:
        """Cases of images that say where they lie; `aside` others may be slices of any of them."""
        distinct = drop_copies(headers)
        stacks = split_stacks(_frames(distinct.headers))
        if are_overview(stacks):
            return [self._skipped("localizer", headers)]
        small = [stack for stack in stacks if len(stack) < self.least]
        lone = [stack for stack in small if len(stack) == 1]
        patients = len(patients_of(headers))
        drafts: list[Draft] = []
        for number, stack in enumerate(stacks):
            if len(lone) > 1 and len(stack) == 1:
                break
            case = Stack(
                key=f"{self.key}|{number}",
                positions=stack,
                headers=_headers_of(stack, distinct.headers),
                copies=distinct.copies,
                conflict=distinct.conflict,
                patients=patients,
                aside=0
                if stack in small
                else aside + (sum(map(_size, small)) if number == 0 else 0),
                by_folder=not headers[0].series,
                least=self.least,
                options=self.options,
            )
            drafts += case.drafts()
        if len(lone) > 1:
            drafts.append(self._lone(lone, distinct))
        return drafts

    def _lone(self, stacks: Sequence[Sequence[Position]], distinct: Distinct) -> Draft:
        """One case of all images of a series that lie alone in their planes."""
        positions = [position for stack in stacks for position in stack]
        headers = _headers_of(positions, distinct.headers)
        copies = [path for header in headers for path in distinct.copies.get(header.uid, ())]
        findings = [Finding("S05", {"n": 1, "least": self.least}), *sources.short_pixels(headers)]
        findings += [Finding("W02", {"n": len(copies)})] if copies else []
        return self._together("single", headers, ("single",), findings, copies)

    def _together(
        self,
        kind: str,
        headers: Sequence[Header],
        flags: tuple[str, ...],
        findings: Sequence[Finding],
        copies: Collection[Path] = (),
    ) -> Draft:
        return Draft(
            group=f"{self.key}|{kind}",
            volume="",
            volumes=1,
            category=flags[0],
            flags=flags,
            source=sources.dicom_source(headers, copies),
            findings=tuple(findings),
            header_name=sources.header_name(headers),
            path_name=sources.path_name(headers),
        )


def _is_volume(captures: Sequence[Header]) -> bool:
    """Whether gray captures with geometry form a regular stack, so that they are kept."""
    stack = split_stacks(_frames(captures))[0]
    if len(stack) < LEAST_CAPTURED_POSITIONS:
        return False
    places = [place_of(position[0]) for position in stack]
    return measure(places, stack[0][0].matrix).kind == "regular"


def _frames(headers: Sequence[Header]) -> list[Frame]:
    return [frame for header in headers for frame in header.frames]


def _headers_of(stack: Sequence[Position], headers: Sequence[Header]) -> list[Header]:
    paths = {frame.path for position in stack for frame in position}
    return [header for header in headers if header.path in paths]


def _size(stack: Sequence[Position]) -> int:
    return sum(map(len, stack))
