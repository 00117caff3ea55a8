"""MLflow, written by one object, from a thread of its own.

Everything that MLflow is told lies first in the run's folder: `history.csv` (every value), `run.json`
(identity, parameters, tags) and the files themselves. So a server that does not answer loses
nothing, and `python -m medsemi.training.tracking FOLDER ADDRESS` sends it later.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from medsemi.atomic import make_writable, write_atomically
from medsemi.errors import MedsemiError
from medsemi.training.checkpoint import CheckpointEvents
from medsemi.training.earlier import EARLIER
from medsemi.training.history import History, Row, as_stored
from medsemi.training.provenance import (
    WAITING_CONFIG,
    device_name,
    flattened,
    parent_tags,
    provenance_tags,
)
from medsemi.training.sender import Sender, Target, normalized_uri, without_password

LONGEST_PARAMETER = 6000
# What a training or an evaluation leaves at its end.
RESULTS = ("model.pt", "cases.csv", "summary.json")


class Tracker:
    """Tells the run folder and MLflow what one stage of a training does."""

    def __init__(
        self,
        folder: str | Path,
        *,
        tracking_uri: str,
        experiment_name: str,
        run_name: str,
        stage: str,
        parameters: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        flush_every_seconds: float = 10.0,
    ) -> None:
        """Remember who the run is; nothing is contacted.

        Args:
            folder: the run folder of the stage.
            tracking_uri: an MLflow server, `sqlite:///` and a path, or a path that ends in `.db`.
            experiment_name: one per bundle.
            run_name: shown in the dashboard.
            stage: pretrain, train, supervised, the name of a method, evaluate, ...
            parameters: everything that the result depends on.
            tags: further tags, such as digests of data and manifest.
            flush_every_seconds: between two writes.
        """
        self.folder = Path(folder)
        self.target = Target(normalized_uri(tracking_uri), experiment_name, run_name)
        self.stage = stage
        flat = flattened(parameters).items()
        self.parameters = {name: text[:LONGEST_PARAMETER] for name, text in flat}
        self.tags = {"medsemi.stage": stage, **(tags or {})}
        self.flush_every_seconds = flush_every_seconds
        self.history = History(self.folder / "history.csv")
        self._buffer: list[tuple[int, float, dict[str, Tensor]]] = []
        self._rows: list[Row] = []
        self._sender: Sender | None = None
        self._flushed = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow an engine from start to end, also a bad end."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stepped)
        engine.register_events(*CheckpointEvents)
        # A training that continues from a checkpoint never reports the steps before it again.
        engine.add_event_handler(CheckpointEvents.BEFORE, self.flush)
        engine.add_event_handler(Events.COMPLETED, lambda: self.finish("FINISHED"))
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._failed)

    def start(self, step: int = 0, device: torch.device | str = "cpu") -> None:
        """Open a run, or continue the one that the folder belongs to.

        Args:
            step: the step that is continued from; what was reported after it is dropped, and at -1
                all of it.
            device: named in the tags.

        Raises:
            OutputError: if the folder cannot be written.
        """
        make_writable(self.folder)
        if (self.folder / WAITING_CONFIG).is_file():
            (self.folder / WAITING_CONFIG).replace(self.folder / "config.json")
        kept = self.history.keep_until(step)
        self.tags |= provenance_tags() | parent_tags() | {"medsemi.device": device_name(device)}
        record = self.folder / "run.json"
        description = {"stage": self.stage, "parameters": self.parameters, "tags": self.tags}
        identity = _identity(record, self.target, self.parameters)
        with write_atomically(record) as temporary:
            temporary.write_text(json.dumps({**description, **identity}, indent=1) + "\n")
        self._sender = Sender(self.target, record, self.parameters, self.tags)
        # A kill may have come between the folder and MLflow.
        self._sender.put_rows([row for row in kept if math.isfinite(row.value)])
        self._flushed = time.monotonic()
        self.log_file(record)
        self.log_file(self.folder / "config.json")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Report values of a step."""
        now = time.time()
        self._rows += [as_stored(step, name, value, now) for name, value in values.items()]

    def log_file(self, path: Path, folder: str = "") -> None:
        """Send a file of the run folder; it stays there too."""
        if self._sender is not None:
            self._sender.put_file(path, folder)

    def flush(self) -> None:
        """Write what was reported: to the history at once, to MLflow from its thread."""
        rows = sorted(self._converted() + self._rows, key=lambda row: row.step)
        self.history.append(rows)
        self._buffer, self._rows = [], []
        self._flushed = time.monotonic()
        if self._sender is not None:
            self._sender.put_rows([row for row in rows if math.isfinite(row.value)])

    def finish(self, status: str) -> None:
        """Write the rest and end the run as FINISHED, FAILED or KILLED; a server is waited for 10 s."""
        self.flush()
        if self._sender is not None:
            for name in ("history.csv", *RESULTS):
                if (self.folder / name).is_file():
                    self.log_file(self.folder / name)
            self._sender.close(status)
            self._sender = None

    def _started(self, engine: Engine) -> None:
        self.start(engine.state.iteration, getattr(engine.state, "device", "cpu"))

    def _stepped(self, engine: Engine) -> None:
        output = cast("dict[str, Tensor]", engine.state.output)
        self._buffer.append((engine.state.iteration, time.time(), output))
        if time.monotonic() - self._flushed > self.flush_every_seconds:
            self.flush()

    def _failed(self, engine: Engine, error: BaseException) -> None:
        self.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise error

    def _converted(self) -> list[Row]:
        """Bring the scalars of many steps to the CPU in one transfer instead of one per step."""
        entries = [
            (step, name, when, value)
            for step, when, output in self._buffer
            for name, value in output.items()
        ]
        if not entries:
            return []
        device = max((entry[3].device for entry in entries), key=lambda place: place.type == "cuda")
        stacked = torch.stack([entry[3].to(device, torch.float64) for entry in entries]).tolist()
        return [
            as_stored(step, name, value, when)
            for (step, name, when, _), value in zip(entries, stacked, strict=True)
        ]


def _identity(record: Path, target: Target, parameters: Mapping[str, str]) -> dict[str, object]:
    """Which run is told; the one of the record goes on if it has this address and these parameters."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}  # what is damaged names no run
    address = without_password(target.tracking_uri)
    same = known.get("tracking_uri") == address and known.get("parameters") == parameters
    return {
        "run_id": known.get("run_id") if same else None,
        **vars(target),
        "tracking_uri": address,
    }


def upload(folder: str | Path, tracking_uri: str) -> None:
    """Send the run folder of a stage to another server, as a run of its own, with all its files.

    A folder without weights or scores is that of a run that was killed.

    Args:
        folder: holds `run.json` and `history.csv`.
        tracking_uri: as for `Tracker`.

    Raises:
        MedsemiError: if the folder holds no run, or one that cannot be read, or the server did not
            take it.
    """
    folder = Path(folder)
    names, parameters, tags = _described(folder)
    target, record = Target(normalized_uri(tracking_uri), *names), folder / "upload.json"
    identity = _identity(record, target, parameters)
    with write_atomically(record) as temporary:
        temporary.write_text(json.dumps({**identity, "parameters": parameters}, indent=1) + "\n")
    sender = Sender(target, record, parameters, tags)
    sender.put_rows([r for r in History(folder / "history.csv").read() if math.isfinite(r.value)])
    for path in sorted(folder.rglob("*.png")):
        place = path.parent.relative_to(folder)
        if place.parts[:1] != (EARLIER,):
            sender.put_file(path, place.as_posix() if place.parts else "")
    for name in ("run.json", "config.json", "history.csv", *RESULTS):
        if (folder / name).is_file():
            sender.put_file(folder / name)
    finished = any((folder / name).is_file() for name in RESULTS)
    if not sender.close("FINISHED" if finished else "KILLED", seconds=120):
        address = without_password(tracking_uri)
        raise MedsemiError(f"{address} did not take the run in {folder}; try again later.")


def _described(folder: Path) -> tuple[tuple[str, str], dict[str, str], dict[str, str]]:
    """Names of experiment and run, parameters and tags, as `run.json` has them."""
    record = folder / "run.json"
    try:
        described = json.loads(record.read_text(encoding="utf-8"))
        names = described["experiment_name"], described["run_name"]
        return names, dict(described["parameters"]), dict(described["tags"])
    except OSError as error:
        raise MedsemiError(f"{folder} holds no run.json; name the folder of one stage.") from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{record} is damaged, or tells no run of medsemi; name the folder of another stage."
        raise MedsemiError(msg) from error


def main(arguments: Sequence[str]) -> int:
    """Run `upload` from the command line; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m medsemi.training.tracking FOLDER ADDRESS", file=sys.stderr)  # noqa: T201
        return 2
    try:
        upload(arguments[0], arguments[1])
    except MedsemiError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
