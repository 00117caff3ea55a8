"""The cases of one stack: one, or one for each of its volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsemi.prediction.case import CLASSES, Grid, SliceSource
from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery import sources
from medsemi.prediction.discovery.draft import Draft
from medsemi.prediction.discovery.header import Frame, Header, Place
from medsemi.prediction.discovery.lattice import Lattice, measure
from medsemi.prediction.discovery.objects import is_projection
from medsemi.prediction.discovery.stacks import Position
from medsemi.prediction.discovery.volumes import Split, Volume, split_volumes
from medsemi.prediction.options import Options

FEW_SLICES = 10
MOST_NAMED_GAPS = 5


@dataclass(frozen=True)
class Stack:
    """A stack of a series.

    Attributes:
        key: stable identity: series and number of the stack.
        positions: in order along the normal.
        headers: of its files.
        copies: identity -> files left out because they hold the same.
        conflict: whether files of one identity in the series hold different images or patients.
        patients: how many the images of the series name.
        aside: images of the series that were left out of this stack.
        by_folder: whether the series has no UID.
        least: fewer positions are no volume.
        options: of the user.
    """

    key: str
    positions: Sequence[Position]
    headers: Sequence[Header]
    copies: Mapping[str, tuple[Path, ...]]
    conflict: bool
    patients: int
    aside: int
    by_folder: bool
    least: int
    options: Options

    def drafts(self) -> list[Draft]:
        """The cases of this stack."""
        repeated = any(len(position) > 1 for position in self.positions)
        if len(self.positions) < self.least:
            flags = {"single"} | ({"4d"} if repeated and len(self.positions) > 1 else set())
            fewer = Finding("S05", {"n": len(self.positions), "least": self.least})
            return [self._whole(flags, [fewer], split_volumes(self.positions))]
        if not repeated:
            frames = tuple(position[0] for position in self.positions)
            return [self._volume(frames, set(), None, 1, "")]
        split = split_volumes(self.positions)
        if isinstance(split, Finding):
            return [self._whole({"4d"}, [split], split)]
        name, volumes = split
        return [
            self._volume(volume.frames, {"4d"}, (index, volume), len(volumes), name)
            for index, volume in enumerate(volumes)
        ]

    def _whole(self, flags: set[str], findings: Sequence[Finding], split: Split | Finding) -> Draft:
        """One case of all frames, which is no single volume."""
        frames = tuple(frame for position in self.positions for frame in position)
        firsts = [position[0] for position in self.positions]
        lattice = _measure(firsts) if len(firsts) > 1 else None
        if len(firsts) >= self.least and lattice is not None:
            flags = flags | _flags(lattice)
        geometry = _geometry(firsts, lattice)
        if "4d" in flags:
            geometry["volumes"] = max(map(len, self.positions))
        if "4d" in flags and not isinstance(split, Finding):
            geometry["split_by"] = split[0]
        return self._draft(frames, flags, findings, lattice, geometry=geometry)

    def _volume(
        self,
        frames: tuple[Frame, ...],
        flags: set[str],
        volume: tuple[int, Volume] | None,
        count: int,
        split_by: str,
    ) -> Draft:
        lattice = _measure(frames)
        geometry = _geometry(frames, lattice)
        if volume is not None:
            geometry |= {"volumes": count, "split_by": split_by}
        findings, grid, index = arrange(lattice, self.options)
        if len(frames) < FEW_SLICES:
            findings.append(Finding("W07", {"n": len(frames)}))
        return self._draft(
            frames,
            flags | _flags(lattice),
            findings,
            lattice,
            geometry=geometry,
            grid=grid,
            slice_index=index,
            volume=volume,
            count=count,
            split_by=split_by,
        )

    def _draft(
        self,
        frames: tuple[Frame, ...],
        flags: set[str],
        findings: Sequence[Finding],
        lattice: Lattice | None,
        *,
        geometry: Mapping[str, Any],
        grid: Grid | None = None,
        slice_index: tuple[float, ...] = (),
        volume: tuple[int, Volume] | None = None,
        count: int = 1,
        split_by: str = "",
    ) -> Draft:
        paths = {frame.path for frame in frames}
        headers = [header for header in self.headers if header.path in paths]
        copies = [path for header in headers for path in self.copies.get(header.uid, ())]
        if any(header.claimed > 1 for header in headers):
            flags = flags | {"multi_frame"}
        category = next((name for name in CLASSES if name in flags), "volume")
        index, value = (None, "") if volume is None else (volume[0], volume[1].value)
        along = _along(frames, lattice)
        return Draft(
            group=self.key,
            volume=f"{split_by}={value}" if volume is not None else "",
            volumes=count,
            category=category,
            flags=(
                *(name for name in CLASSES if name in flags),
                *(("conflict",) if self.conflict else ()),
            ),
            source=sources.dicom_source(
                headers,
                copies,
                tuple(
                    SliceSource(frame.path, frame.number, frame.uid, position)
                    for frame, position in zip(frames, along, strict=True)
                ),
                index,
                split_by,
            ),
            findings=(*findings, *self._findings(headers, frames, len(copies))),
            grid=grid,
            slice_index=slice_index,
            geometry=geometry,
            header_name=sources.header_name(headers),
            path_name=sources.path_name(headers),
            projection=any(is_projection(header.image_type) for header in headers),
        )

    def _findings(
        self, headers: Sequence[Header], frames: Sequence[Frame], copies: int
    ) -> list[Finding]:
        """What does not depend on the arrangement."""
        found = [Finding("R04")] if self.conflict else []
        found += [Finding("R13", {"n": self.patients})] if self.patients > 1 else []
        found += sources.short_pixels(headers) + sources.unsupported_pixels(headers)
        parts = {frame.keys.get("it") for frame in frames}
        if headers[0].modality == "MR" and parts & {"P", "R", "I"} and "M" not in parts:
            found.append(Finding("S11"))
        if self.by_folder:
            found.append(Finding("W01"))
        if copies and not self.conflict:
            found.append(Finding("W02", {"n": copies}))
        if self.aside:
            found.append(Finding("W03", {"n": self.aside}))
        return found + sources.warnings_of(headers, frames, self.options)


def arrange(
    lattice: Lattice, options: Options
) -> tuple[list[Finding], Grid | None, tuple[float, ...]]:
    """Decide where results of a stack lie, or why it is refused.

    Args:
        lattice: what its positions form.
        options: of the user.

    Returns:
        Findings; the grid and where each position lies on its slice axis, unless it is refused.
    """
    findings = []
    if lattice.tilted:
        code = "W04" if options.tilt == "resample" else "R03"
        findings.append(Finding(code, {"degrees": round(lattice.tilt_degrees, 1)}))
    if lattice.kind == "regular":
        return findings, lattice.grid(), lattice.slice_index()
    filled = options.gaps == "fill" and lattice.can_be_filled
    if lattice.kind == "gaps":
        values = {"k": lattice.missing, "after": _named_gaps(lattice)}
        findings.append(Finding("W05" if filled else "R01", values))
        return findings, *((lattice.grid(), lattice.slice_index()) if filled else (None, ()))
    if filled:
        grid = lattice.even_grid()
        step = lattice.length / (grid.shape[2] - 1)
        findings.append(Finding("W06", {"mm": round(step, 2)}))
        return findings, grid, lattice.even_slice_index()
    distances = lattice.distances
    values = {"least": round(distances.min(), 2), "most": round(distances.max(), 2)}
    return [*findings, Finding("R02", values)], None, ()


def _named_gaps(lattice: Lattice) -> str:
    """Slices before a gap, counted from 0, with their place along the normal."""
    after = lattice.missing_after
    named = [f"{index} (at {lattice.along[index]:.1f} mm)" for index in after[:MOST_NAMED_GAPS]]
    return ", ".join(named) + (" and others" if len(after) > len(named) else "")


def _measure(frames: Sequence[Frame]) -> Lattice:
    return measure([place_of(frame) for frame in frames], frames[0].matrix)


def place_of(frame: Frame) -> Place:
    """The place of a frame of a stack, which has one."""
    assert frame.place is not None
    return frame.place


def _along(frames: Sequence[Frame], lattice: Lattice | None) -> list[float]:
    """Distance of each frame along the normal, in mm."""
    normal = place_of(frames[0]).normal if lattice is None else lattice.first.normal
    return [float(normal @ place_of(frame).position) for frame in frames]


def _flags(lattice: Lattice) -> set[str]:
    flags = {lattice.kind} - {"regular"}
    return {*flags, "tilted"} if lattice.tilted else {*flags}


def _geometry(firsts: Sequence[Frame], lattice: Lattice | None) -> dict[str, Any]:
    """Measured facts, as plain values; see `medsemi.prediction.case.Case`."""
    place, last = place_of(firsts[0]), place_of(firsts[-1])
    facts: dict[str, Any] = {
        "matrix": list(firsts[0].matrix),
        "pixel_spacing": list(place.spacing),
        "positions": len(firsts),
        "iop": list(place.orientation),
        "first_ipp": list(place.position),
        "last_ipp": list(last.position),
    }
    if lattice is not None:
        facts |= lattice.facts()
    return facts
