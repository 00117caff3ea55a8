"""A case before it is known whether it is selected and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medsemi.prediction.case import Grid, Source
from medsemi.prediction.codes import Finding


@dataclass(frozen=True)
class Draft:
    """What the files say of a case.

    Attributes:
        group: identity of what it shares with its neighbor volumes: series (or path) and stack.
        volume: value of the key that tells it from them; empty if it is alone.
        volumes: how many volumes the group has.
        category: see `medsemi.prediction.case.Case`.
        flags: see `medsemi.prediction.case.Case`.
        source: its files.
        findings: all that may be said; what matters for the outcome is chosen later.
        grid: see `medsemi.prediction.case.Case`.
        slice_index: see `medsemi.prediction.case.Case`.
        geometry: see `medsemi.prediction.case.Case`.
        header_name: patient, date and series number, for `--names header`.
        path_name: relative path, for `--names path`.
        projection: whether it is a projection through many slices.
        direct: whether the user named the file or its folder.
        groups: what `group` is in any run: where it is alone, and where another case has that identity.
    """

    group: str
    volume: str
    volumes: int
    category: str
    flags: tuple[str, ...]
    source: Source
    findings: tuple[Finding, ...] = ()
    grid: Grid | None = None
    slice_index: tuple[float, ...] = ()
    geometry: Mapping[str, Any] = field(default_factory=dict)
    header_name: str = ""
    path_name: str = ""
    projection: bool = False
    direct: bool = False
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Stable identity."""
        return f"{self.group}|{self.volume}"

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes alone."""
        return tuple(finding.code for finding in self.findings)
