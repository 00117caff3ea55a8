"""A run with stages that need no image and no network, also as a process that tests can kill.

An input file holds JSON, unless the stage that finds files is the real one: `outcome` (predict, skip, refuse), `findings` (codes), `fail` (reading,
network, writing) with `error` (refused, crash, memory, too_large, disk), `seed`.

Usage: python fake_run.py MODEL OUT PAUSE SHARD INPUT...
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from medsemi.prediction.case import Case, Grid, Segmentation, Source, Volume
from medsemi.prediction.codes import CaseRefused, Finding, RunStopped
from medsemi.prediction.console import Silent
from medsemi.prediction.ledger import RECORD, VOLATILE, geometry_digest
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict
from medsemi.prediction.stages import Stages

SHAPE = (8, 6, 4)
VALUES = {
    "W07": {"n": 4},
    "R02": {"least": 1, "most": 3},
    "R09": {"name": "JPEG", "package": "pylibjpeg"},
    "S05": {"least": 3, "n": 1},
}


def discover(
    inputs: Sequence[Path], options: Options, model: Model, progress: Callable[[int], None]
) -> Any:
    paths = [p for root in inputs for p in (sorted(root.rglob("*")) if root.is_dir() else [root])]
    paths = [path for path in paths if path.is_file()]
    progress(len(paths))
    return SimpleNamespace(
        cases=[_case(path) for path in paths if path.suffix == ".json"],
        ignored=[(path.name, Finding("S01")) for path in paths if path.suffix != ".json"],
    )


def _case(path: Path) -> Case:
    said = json.loads(path.read_text())
    return Case(
        key=path.name,
        case_id=path.stem,
        category="volume",
        flags=(),
        outcome=said.get("outcome", "predict"),
        findings=tuple(Finding(code, VALUES.get(code, {})) for code in said.get("findings", [])),
        source=Source("nifti", "CT", path, path.name, 1),
        grid=Grid(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0])),
    )


def _perhaps_fail(path: Path, stage: str) -> None:
    try:
        said = json.loads(path.read_bytes())
    except ValueError:  # a real image
        return
    if said.get("fail") != stage:
        return
    secret = f"'{path}' of DOE^JANE 1.2.840.113619.2.5.17 12345678"
    errors = {
        "refused": CaseRefused("R07", file="a slice"),
        "memory": MemoryError(),
        "too_large": CaseRefused("R11", needed=9, free=1),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "stopped": RunStopped("E10", why="broken"),
    }
    raise errors.get(said.get("error", ""), ValueError(f"bad {secret}"))


class Network:
    """Labels are the voxels above the mean."""

    device = "cpu"

    def __init__(self, pause: float) -> None:
        self.pause, self.seen = pause, []

    def segment(
        self, case: Case, volume: Volume, progress: Callable[[float], None]
    ) -> Segmentation:
        self.seen.append(case.case_id)
        _perhaps_fail(case.source.path, "network")
        time.sleep(self.pause)
        progress(1.0)
        labels = (volume.values > volume.values.mean()).astype(np.uint8)
        return Segmentation(labels, labels, {}, 0, {"network": self.pause})


def make_stages(pause: float = 0.0, network: Network | None = None) -> Stages:
    """Stages of which each takes some seconds."""

    def read(case: Case, background: float | None, threads: int) -> Volume:
        _perhaps_fail(case.source.path, "reading")
        time.sleep(pause)
        content = case.source.path.read_bytes()
        seed = list(hashlib.sha256(content).digest())
        values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
        return Volume(values, "HU", (), hashlib.sha256(content).hexdigest())

    def write(
        folder: Path,
        case: Case,
        volume: Volume,
        segmentation: Segmentation,
        model: Model,
        options: Options,
        fingerprint: str,
    ) -> Any:
        (folder / "seg.bin").write_bytes(segmentation.labels.tobytes())
        time.sleep(pause)
        _perhaps_fail(case.source.path, "writing")
        (folder / "volumes.json").write_text(json.dumps({"fingerprint": fingerprint}))
        outputs = [
            {
                "file": p.name,
                "bytes": p.stat().st_size,
                "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
            }
            for p in sorted(folder.iterdir())
        ]
        volumes = [{"name": "organ", "volume_ml": int(segmentation.labels.sum()) * 0.002}]
        return SimpleNamespace(outputs=outputs, findings=(), volumes=volumes, seconds=pause)

    return Stages(
        discover=discover,
        read=read,
        load=lambda model, options: network or Network(pause),
        write=write,
        record=record,
        write_record=write_record,
        report=write_report,
    )


def record(
    case: Case,
    status: str,
    findings: Sequence[Finding],
    model: Model,
    options: Options,
    *,
    volume: Volume | None = None,
    segmentation: Segmentation | None = None,
    written: Any = None,
    fingerprint: str = "",
    seconds: dict[str, float] | None = None,
    peak_memory_gb: dict[str, float] | None = None,
) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "status": status,
        "class": case.category,
        "codes": [{"code": each.code, "text": each.text} for each in findings],
        "source": {
            "kind": case.source.kind,
            "modality": "CT",
            "series_uid": case.source.tags.get("series_uid", ""),
            "study_uid": case.source.tags.get("study_uid", ""),
            "slices": SHAPE[2],
            "spacing_mm": [1.0, 1.0, 2.0],
        },
        "options": {"gaps": options.gaps, "tilt": options.tilt, "strict": options.strict},
        "geometry_sha256": geometry_digest(case),
        "outputs": written.outputs if written else [],
        "volumes": written.volumes if written else [],
        "seg_frames": 0,
        "times_s": seconds or {},
        "peak_memory_gb": peak_memory_gb or {},
        "fingerprint": fingerprint,
    }


def write_record(folder: Path, record: dict[str, Any]) -> None:
    (folder / RECORD).write_text(json.dumps(record))


def write_report(out: Path) -> None:
    names = sorted(path.parent.name for path in out.glob("cases/*/case.json"))
    (out / "report.html").write_text("\n".join(names))


def write_model(folder: Path) -> Path:
    """A bundle as far as a run without a network looks at it."""
    contract = {"modality": ["any"], "labels": {"1": {"name": "organ"}}}
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps({"medsemi": contract}))
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return folder


def write_inputs(folder: Path, count: int, **said: Any) -> Path:
    """Cases that can be predicted."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"case{number:02d}.json").write_text(json.dumps({"seed": number, **said}))
    return folder


class Told:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []
        self.stages: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.cases = self.looked_at = self.ended = 0

    def files(self, count: int) -> None:
        self.looked_at = count

    def begin(self, cases: int) -> None:
        self.cases = cases

    def stage(self, case_id: str, stage: str) -> None:
        self.stages.append((case_id, stage))

    def part(self, case_id: str, done: float) -> None:
        self.stages.append((case_id, f"{done:.0%}"))

    def say(self, case_id: str, code: str, sentence: str) -> None:
        self.lines.append((case_id, code, sentence))

    def finished(self, case_id: str) -> None:
        self.ended += 1

    def end(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)

    def codes(self, case_id: str) -> list[str]:
        return [code for case, code, _ in self.lines if case == case_id]


def say(path: Path, **said: Any) -> None:
    """Write what an input says of itself."""
    path.write_text(json.dumps(said))


def records(out: Path) -> dict[str, Any]:
    return {p.parent.name: json.loads(p.read_text()) for p in out.glob("cases/*/case.json")}


def contents(out: Path) -> dict[str, Any]:
    """All files of all cases, without what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in (out / "cases").rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        found[name] = path.read_bytes()
        if path.name == "case.json":
            record = json.loads(path.read_text())
            found[name] = {k: v for k, v in record.items() if k not in VOLATILE}
    with (out / "summary.csv").open() as file:
        found["summary"] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return found


def go(
    inputs: Path, model: Path, out: Path, told: Told | None = None, **options: Any
) -> tuple[int, Told]:
    told = told or Told()
    stages: Stages = options.pop("stages", make_stages())
    return predict([inputs], model, out, Options(**options), told, stages), told


def no_network(stages: Stages) -> Stages:
    """Stages that must neither read a voxel nor load a network."""
    import pytest

    def fail(*_: Any) -> Any:
        pytest.fail("not needed")

    return replace(stages, read=fail, load=fail, write=fail)


def main(model: str, out: str, pause: str, shard: str, *inputs: str) -> int:
    index, count = map(int, shard.split("/"))
    try:
        return predict(
            [Path(path) for path in inputs],
            Path(model),
            Path(out),
            Options(shard=(index, count)),
            Silent(),
            make_stages(float(pause)),
        )
    except RunStopped as stop:
        sys.stderr.write(f"{stop}\n")
        return stop.exit_code


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
