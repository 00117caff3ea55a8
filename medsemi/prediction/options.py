"""What the user of `medsemi predict` may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OUTPUTS = ("nifti", "seg", "segmap", "volumes", "preview", "probabilities")
DEFAULT_OUTPUTS = ("nifti", "seg", "volumes", "preview")


@dataclass(frozen=True, slots=True)
class Options:
    """The options, with their defaults; each is explained by `medsemi predict --help`.

    Attributes:
        series: `auto`, `all`, a series UID, `UID#volume` (from 1), or part of a series description.
        gaps: whether missing and uneven slices are refused or interpolated.
        tilt: whether tilted stacks are computed on a straightened copy or refused.
        outputs: members of `OUTPUTS`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        overlap: of sliding windows, 0 to 0.75; None takes that of the model.
        workers: reader threads, 1 to 16.
        overwrite: `stale` redoes cases whose fingerprint changed, `never` none, `all` all.
        names: how case ids are made: `auto`, `hash`, `path` or `header`.
        strict: every warning becomes a refusal.
        shard: (index from 1, count).
    """

    series: str = "auto"
    gaps: Literal["refuse", "fill"] = "refuse"
    tilt: Literal["resample", "refuse"] = "resample"
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    device: str = "auto"
    overlap: float | None = None
    workers: int = 2
    overwrite: Literal["stale", "never", "all"] = "stale"
    names: Literal["auto", "hash", "path", "header"] = "auto"
    strict: bool = False
    shard: tuple[int, int] = (1, 1)
