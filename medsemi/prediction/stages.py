# ruff: noqa: PLC0415  (a stage is imported when it is first needed: a second run needs no network)
"""The stages of a run, each a function that can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medsemi.prediction.case import Case, Segmentation, Volume
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options

if TYPE_CHECKING:
    from medsemi.prediction.discovery.scan import Scan
    from medsemi.prediction.outputs.write import Written


class SegmentsCases(Protocol):
    """A loaded model."""

    def segment(
        self, case: Case, volume: Volume, progress: Callable[[float], None]
    ) -> Segmentation:
        """Segment one case; `progress` is told which part of it is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What a run is made of.

    Attributes:
        discover: (inputs, options, model, progress) finds the cases.
        read: (case, background, threads) reads the voxels of one.
        load: (model, options) loads the network.
        write: (folder, case, volume, segmentation, model, options, fingerprint) writes the files of
            a case, but the record.
        record: makes what `case.json` says, see `outputs.record.case_record`.
        write_record: (folder, record) writes it.
        report: (out) writes `report.html` from the records.
    """

    discover: Callable[[Sequence[Path], Options, Model, Callable[[int], None]], Scan]
    read: Callable[[Case, float | None, int], Volume]
    load: Callable[[Model, Options], SegmentsCases]
    write: Callable[[Path, Case, Volume, Segmentation, Model, Options, str], Written]
    record: Callable[..., dict[str, Any]]
    write_record: Callable[[Path, dict[str, Any]], None]
    report: Callable[[Path], None]


def _discover(
    inputs: Sequence[Path], options: Options, model: Model, progress: Callable[[int], None]
) -> Scan:
    from medsemi.prediction.discovery.scan import discover

    return discover(inputs, options, model, progress)


def _read(case: Case, background: float | None, threads: int) -> Volume:
    from medsemi.prediction.reading.volume import read_volume

    return read_volume(case, background, threads)


def _load(model: Model, options: Options) -> SegmentsCases:
    from medsemi.prediction.network import Segmenter

    return Segmenter(model, options)


def _write(
    folder: Path,
    case: Case,
    volume: Volume,
    segmentation: Segmentation,
    model: Model,
    options: Options,
    fingerprint: str,
) -> Written:
    from medsemi.prediction.outputs.write import write_case

    return write_case(folder, case, volume, segmentation, model, options, fingerprint)


def _record(*arguments: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401  (handed on)
    from medsemi.prediction.outputs.record import case_record

    return case_record(*arguments, **named)


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    from medsemi.prediction.outputs.record import write_record

    write_record(folder, record)


def _report(out: Path) -> None:
    from medsemi.prediction.report import write_report

    write_report(out)


STAGES = Stages(_discover, _read, _load, _write, _record, _write_record, _report)
