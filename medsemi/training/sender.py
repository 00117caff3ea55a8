"""The thread that talks to MLflow; nothing that trains ever waits for it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsemi.atomic import write_atomically
from medsemi.training.history import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_BATCH = 1000
# A server that does not answer is not waited for; a local file only needs its time.
_SERVER_SECONDS, _FILE_SECONDS = 10.0, 60.0
_SQLITE = "sqlite:///"
_SENT = "medsemi.sent_step"


@dataclass(frozen=True)
class Target:
    """Which run: server, experiment and name."""

    tracking_uri: str
    experiment_name: str
    run_name: str

    @property
    def patience(self) -> float:
        """Seconds that a first or last answer is waited for."""
        return _FILE_SECONDS if self.tracking_uri.startswith(_SQLITE) else _SERVER_SECONDS


def normalized_uri(uri: str) -> str:
    """Return the address of a store; a path that ends in `.db` becomes a SQLite address."""
    if uri.endswith(".db") and "://" not in uri:
        return _SQLITE + str(Path(uri).resolve())
    return uri


def without_password(uri: str) -> str:
    """Return an address, or a text that holds one, without the user and password that it may carry."""
    return re.sub(r"://[^/\s'\"]*@", "://", uri)


class Sender:
    """Sends rows and files of one run, in order, from a daemon thread.

    A server that fails keeps what it was not told in a list; it is tried again every 30 seconds,
    and a single warning is given.
    """

    def __init__(
        self,
        target: Target,
        record: Path,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Start the thread.

        Args:
            target: the run.
            record: JSON file that keeps `run_id`; a run named there is continued.
            parameters: of the run.
            tags: of the run.
        """
        self.target, self.record = target, record
        self.parameters, self.tags = dict(parameters), dict(tags)
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._client: MlflowClient | None = None
        self._run_id, self._sent_step = "", -1
        self._warned, self._retry_at = False, 0.0
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def put_rows(self, rows: Sequence[Row]) -> None:
        """Queue values; those that a continued run was told before are dropped when it is opened."""
        if rows:
            self._queue.put(("rows", list(rows)))

    def put_file(self, path: Path, folder: str = "") -> None:
        """Queue a file."""
        self._queue.put(("file", (path, folder)))

    def close(self, status: str, seconds: float | None = None) -> bool:
        """Queue the end of the run and wait for it.

        Args:
            status: FINISHED, FAILED or KILLED.
            seconds: at most; None waits 10 s for a server and 60 s for a local file.

        Returns:
            Whether everything was sent within `seconds`.
        """
        self._queue.put(("end", status))
        self._thread.join(seconds or self.target.patience)
        sent = not self._thread.is_alive()
        if not sent:
            self._warn("it did not answer in time")
        return sent

    def _work(self) -> None:
        waiting: list[tuple[str, Any]] = [("open", None)]
        while True:
            ended = bool(waiting) and waiting[-1][0] == "end"
            if not waiting or (time.monotonic() < self._retry_at and not ended):
                waiting += self._take(0.5)
            while waiting and (time.monotonic() >= self._retry_at or ended):
                try:
                    self._send(*waiting[0])
                except Exception as error:
                    self._retry_at = time.monotonic() + (1.0 if ended else 30.0)
                    self._warn(" ".join(str(error).split())[:160])
                    if ended:
                        time.sleep(1.0)
                    break
                if waiting.pop(0)[0] == "end":
                    return

    def _take(self, seconds: float) -> list[tuple[str, Any]]:
        try:
            return [self._queue.get(timeout=seconds)]
        except queue.Empty:
            return []

    def _warn(self, reason: str) -> None:
        if not self._warned:
            message = "MLflow at %s was not told everything (%s); the run folder has it all."
            address = without_password(self.target.tracking_uri)
            logger.warning(message, address, without_password(reason))
        self._warned = True

    def _send(self, kind: str, content: Any) -> None:  # noqa: ANN401  (rows, a file or a status)
        if kind == "open":
            self._open()
            return
        assert self._client is not None
        if kind == "rows":
            self._send_rows(content)
        elif kind == "file":
            path, folder = content
            if Path(path).is_file():
                self._client.log_artifact(self._run_id, str(path), folder or None)
        else:
            self._client.set_terminated(self._run_id, content)

    def _send_rows(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415  (3 s to import)

        assert self._client is not None
        # The last step may have been told in part. A value that MLflow has already, at the same
        # millisecond, is not stored twice.
        metrics = [
            Metric(
                re.sub(r"[^\w./ :-]", "_", row.name),
                row.value,
                round(row.unix_seconds * 1000),
                row.step,
            )
            for row in rows
            if row.step >= self._sent_step
        ]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._run_id, metrics[start : start + _BATCH])
        self._client.set_tag(self._run_id, "medsemi.heartbeat", str(int(time.time())))
        # After a kill the rows begin again before what was told.
        last = max(self._sent_step, *(row.step for row in rows))
        self._client.set_tag(self._run_id, _SENT, str(last))

    def _open(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        from mlflow import MlflowClient  # noqa: PLC0415  (3 s to import)

        with _schema_lock(self.target.tracking_uri):
            self._client = MlflowClient(self.target.tracking_uri)
            experiment = self._experiment()
        known = json.loads(self.record.read_text()) if self.record.is_file() else {}
        self._run_id = known.get("run_id") or ""
        if self._run_id and self._continues():
            self._send_parameters()  # a kill may have come before them
            return
        run = self._client.create_run(experiment, run_name=self.target.run_name, tags=self.tags)
        self._run_id = run.info.run_id
        with write_atomically(self.record) as temporary:
            content = {**known, "run_id": self._run_id}
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        self._send_parameters()

    def _continues(self) -> bool:
        """Take up the run of the record if this server has it, with the tags of today."""
        from mlflow.entities import RunTag  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        assert self._client is not None
        try:
            run = self._client.get_run(self._run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        if run.info.lifecycle_stage != "active":  # deleted in the dashboard, and still answered
            return False
        self._sent_step = int(run.data.tags.get(_SENT, -1))
        self._client.update_run(self._run_id, status="RUNNING")
        tags = [RunTag(name, value) for name, value in self.tags.items()]
        self._client.log_batch(self._run_id, tags=tags)
        return True

    def _send_parameters(self) -> None:
        from mlflow.entities import Param  # noqa: PLC0415

        assert self._client is not None
        parameters = [Param(name, value) for name, value in self.parameters.items()]
        self._client.log_batch(self._run_id, params=parameters)

    def _experiment(self) -> str:
        """Return the id of the experiment; a new one keeps its files beside the database."""
        assert self._client is not None
        name = self.target.experiment_name
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self.target.tracking_uri.startswith(_SQLITE):
            database = Path(self.target.tracking_uri.removeprefix(_SQLITE)).resolve()
            location = (database.parent / "mlartifacts" / name).as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))


class _schema_lock:  # noqa: N801  (used like a function)
    """Two processes that make the tables of one new SQLite file at once would fail."""

    def __init__(self, uri: str) -> None:
        self._path = Path(uri.removeprefix(_SQLITE) + ".lock") if uri.startswith(_SQLITE) else None

    def __enter__(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            self._file.close()
