"""The tracker: a real SQLite store, servers that refuse or never answer, crashes and resumes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from mlflow import MlflowClient

from medsemi.errors import MedsemiError
from medsemi.training import sender
from medsemi.training.earlier import set_results_aside
from medsemi.training.history import History
from medsemi.training.provenance import WAITING_CONFIG
from medsemi.training.tracking import Tracker, main, upload


def engine_of(tracker: Tracker, stop: int | None = None) -> Engine:
    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        if stop == batch:
            raise OSError("no space left")
        return {"loss": torch.tensor(float(batch)), "loss/dice (a)": torch.tensor(float("inf"))}

    engine = Engine(step)
    tracker.attach(engine)
    return engine


def tracker_of(folder: Path, uri: str, **options: object) -> Tracker:
    return Tracker(
        folder, tracking_uri=uri, experiment_name="left_atrium", run_name="one", stage="train",
        parameters={"seed": 1, "window": [64, 64, 32]}, tags={"medsemi.training": "t"}, **options,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "mlflow.db")


def continued(tracker: Tracker, done: int, last: int) -> None:
    """Run the steps after `done`, as after a checkpoint of it."""
    engine = engine_of(tracker)
    engine.load_state_dict({"iteration": done, "max_epochs": 1, "epoch_length": last})
    engine.run(range(done + 1, last + 1))


def runs_of(store: str) -> list:
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("left_atrium")
    return client.search_runs([experiment.experiment_id])


def test_a_configuration_that_waited_is_that_of_the_run(tmp_path: Path, store: str) -> None:
    for name, text in (("config.json", "old"), (WAITING_CONFIG, "new")):
        (tmp_path / name).write_text(text)
    tracker = tracker_of(tmp_path, store)
    tracker.start()
    tracker.finish("FINISHED")
    assert (tmp_path / "config.json").read_text() == "new"
    assert not (tmp_path / WAITING_CONFIG).exists()


def test_a_run_is_in_the_folder_and_in_mlflow(tmp_path: Path, store: str) -> None:
    tracker = tracker_of(tmp_path / "run", store)
    engine = engine_of(tracker)

    @engine.on(Events.ITERATION_COMPLETED(every=3))
    def validate(engine: Engine) -> None:
        tracker.log({"val/dice": 0.5}, engine.state.iteration)

    picture = tmp_path / "run" / "picture.png"
    engine.add_event_handler(Events.STARTED, lambda: picture.write_bytes(b"png"))
    engine.add_event_handler(Events.COMPLETED, lambda: None)
    engine.run(range(1, 7))
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "1", "window": "[64, 64, 32]"}
    assert run.data.tags["medsemi.training"] == "t"
    client = MlflowClient(f"sqlite:///{store}")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(i, float(i)) for i in range(1, 7)]
    # Infinity would be stored as the largest number and break every plot; the folder keeps it.
    assert "loss/dice _a_" not in run.data.metrics
    rows = History(tmp_path / "run" / "history.csv").read()
    assert sum(row.name == "loss/dice (a)" for row in rows) == 6
    assert "history.csv" in [f.path for f in client.list_artifacts(run.info.run_id)]
    assert "/mlartifacts/" in run.info.artifact_uri


def test_a_crash_is_marked_and_a_resume_continues_the_same_run(tmp_path: Path, store: str) -> None:
    with pytest.raises(OSError, match="no space"):
        engine_of(tracker_of(tmp_path / "run", store), stop=5).run(range(1, 7))
    (failed,) = runs_of(store)
    assert failed.info.status == "FAILED"
    continued(tracker_of(tmp_path / "run", store), 2, 6)
    (run,) = runs_of(store)
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    steps = [r.step for r in History(tmp_path / "run" / "history.csv").read() if r.name == "loss"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_foreign_unfinished_run_is_never_adopted(tmp_path: Path, store: str) -> None:
    first = tracker_of(tmp_path / "first", store)
    first.start()
    engine_of(tracker_of(tmp_path / "second", store)).run(range(1, 3))
    deadline = time.monotonic() + 60
    while len(runs_of(store)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert sorted(run.info.status for run in runs_of(store)) == ["FINISHED", "RUNNING"]
    first.finish("KILLED")


def test_a_run_that_was_deleted_is_followed_by_a_new_one_with_all_values(
    tmp_path: Path, store: str
) -> None:
    engine_of(tracker_of(tmp_path / "run", store)).run(range(1, 4))
    (first,) = runs_of(store)
    MlflowClient(f"sqlite:///{store}").delete_run(first.info.run_id)
    continued(tracker_of(tmp_path / "run", store), 3, 6)
    (second,) = runs_of(store)
    assert second.info.run_id != first.info.run_id
    assert values_in(store) == [(step, float(step)) for step in range(1, 7)]


def test_a_continued_run_has_the_tags_of_today(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for revision in ("old", "new"):
        tags = {"medsemi.revision": revision}
        monkeypatch.setattr("medsemi.training.tracking.provenance_tags", tags.copy)
        continued(tracker_of(tmp_path / "run", store), 1, 2)
    (run,) = runs_of(store)
    assert run.data.tags["medsemi.revision"] == "new"


def test_a_training_that_begins_anew_is_a_run_of_its_own(tmp_path: Path, store: str) -> None:
    """Its values would stand among those of the training before it, of the same parameters."""
    engine_of(tracker_of(tmp_path / "run", store)).run(range(1, 3))
    (first,) = runs_of(store)
    (tmp_path / "run" / "model.pt").touch()
    set_results_aside(tmp_path / "run")
    engine_of(tracker_of(tmp_path / "run", store)).run(range(11, 14))
    second, old = runs_of(store)
    assert old.info.run_id == first.info.run_id
    assert old.data.metrics["loss"] == 2.0
    history = MlflowClient(f"sqlite:///{store}").get_metric_history(second.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 11.0), (2, 12.0), (3, 13.0)]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["run_id"] == second.info.run_id


def test_an_evaluation_that_is_repeated_is_told_in_the_same_run(tmp_path: Path, store: str) -> None:
    for _ in range(2):
        tracker = tracker_of(tmp_path / "run", store)
        tracker.start(-1)
        tracker.log({"dice": 0.5}, 0)
        tracker.finish("FINISHED")
    assert len(runs_of(store)) == 1


def test_an_upload_after_other_parameters_is_a_run_of_its_own(tmp_path: Path, store: str) -> None:
    record = {
        "experiment_name": "left_atrium", "run_name": "one", "tags": {}, "parameters": {"seed": "1"},
    }  # fmt: skip
    for seed in ("1", "1", "2"):
        record["parameters"] = {"seed": seed}
        (tmp_path / "run.json").write_text(json.dumps(record))
        upload(tmp_path, store)
    assert sorted(run.data.params["seed"] for run in runs_of(store)) == ["1", "2"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_an_unreachable_server_stops_nothing_and_loses_nothing(
    tmp_path: Path, store: str, silent_port: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_SERVER_SECONDS", 1.0)
    port = silent_port if kind == "silent" else 9
    started = time.monotonic()
    engine_of(tracker_of(tmp_path / "run", f"http://127.0.0.1:{port}")).run(range(1, 7))
    assert time.monotonic() - started < 10  # MLflow itself would try for minutes
    rows = History(tmp_path / "run" / "history.csv").read()
    assert [row.value for row in rows if row.name == "loss"] == [1, 2, 3, 4, 5, 6]
    for name in ("summary.json", "cases.csv", "extremes/best_a.png", "curve.png"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    upload(tmp_path / "run", store)
    (run,) = runs_of(store)
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 6.0)
    client = MlflowClient(f"sqlite:///{store}")
    sent = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert sent == {"run.json", "history.csv", "summary.json", "cases.csv", "extremes", "curve.png"}


def test_nothing_of_mlflow_runs_in_the_thread_that_trains(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    original = sender.Sender._send

    def spy(self: sender.Sender, kind: str, content: object) -> None:
        threads.add(threading.current_thread().name)
        original(self, kind, content)

    monkeypatch.setattr(sender.Sender, "_send", spy)
    engine_of(tracker_of(tmp_path / "run", store, flush_every_seconds=0.0)).run(range(1, 4))
    assert threads == {"mlflow"}


def test_upload_says_in_one_sentence_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "x.db"]) == 2
    assert "holds no run.json" in capsys.readouterr().err
    with pytest.raises(MedsemiError):
        upload(tmp_path, "x.db")


@pytest.mark.parametrize(
    "record",
    [b"", b'{"stage": "tr', b"[]", b"{}", b'{"experiment_name": 1}', b"\xff",
     b'{"experiment_name": "a", "run_name": "b", "parameters": "c", "tags": {}}'],
)  # fmt: skip
def test_upload_names_a_record_that_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: bytes
) -> None:
    (tmp_path / "run.json").write_bytes(record)
    assert main([str(tmp_path), str(tmp_path / "x.db")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / 'run.json'} is damaged, or tells no run")


def test_upload_begins_a_run_where_it_cannot_read_which_it_told(tmp_path: Path, store: str) -> None:
    engine_of(tracker_of(tmp_path / "run", store)).run(range(1, 2))
    (tmp_path / "run" / "upload.json").write_text('{"run_id": "cut')
    upload(tmp_path / "run", store)
    assert len(runs_of(store)) == 2


def test_upload_tells_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_of(tracker_of(tmp_path, str(tmp_path / "x.db"))).run(range(1, 2))
    monkeypatch.setattr(sender.Sender, "close", lambda *_, **__: False)
    assert main([str(tmp_path), "http://ann:secret@127.0.0.1:9"]) == 2
    told = capsys.readouterr().err
    assert "http://127.0.0.1:9 did not take the run" in told
    assert "secret" not in told


def test_upload_sends_no_pictures_of_an_earlier_training(tmp_path: Path, store: str) -> None:
    record = {"experiment_name": "left_atrium", "run_name": "one", "tags": {}, "parameters": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    for name in ("overlays/a.png", "earlier/overlays/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"png")
    upload(tmp_path, store)
    (run,) = runs_of(store)
    files = MlflowClient(f"sqlite:///{store}").list_artifacts(run.info.run_id)
    assert {file.path for file in files} == {"overlays", "run.json"}


def test_the_record_names_nobody(tmp_path: Path, store: str) -> None:
    engine_of(tracker_of(tmp_path / "run", store)).run(range(1, 2))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert socket.gethostname() not in json.dumps(record)
    assert "mlflow.user" not in record["tags"]


def test_a_password_is_kept_out_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_SERVER_SECONDS", 1.0)
    tracker = tracker_of(tmp_path / "run", "http://ann:secret@127.0.0.1:9")
    engine_of(tracker).run(range(1, 2))
    assert "secret" not in (tmp_path / "run" / "run.json").read_text()
    assert tracker.target.tracking_uri == "http://ann:secret@127.0.0.1:9"


def values_in(store: str) -> list[tuple[int, float]]:
    (run,) = runs_of(store)
    history = MlflowClient(f"sqlite:///{store}").get_metric_history(run.info.run_id, "loss")
    return [(metric.step, metric.value) for metric in history]


def test_what_a_kill_kept_from_mlflow_is_told_on_resuming(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of the last steps lie in the folder alone, as after a kill of the sending thread."""
    send, lost = sender.Sender._send_rows, []

    def until_step_3(self: sender.Sender, rows: list) -> None:
        lost.extend(row for row in rows if row.step > 3)
        kept = [row for row in rows if row.step <= 3]
        if kept:  # no rows are an error, which the thread would try to send again after the test
            send(self, kept)

    monkeypatch.setattr(sender.Sender, "_send_rows", until_step_3)
    with pytest.raises(OSError, match="no space"):
        engine_of(tracker_of(tmp_path / "run", store, flush_every_seconds=0.0), stop=6).run(
            range(1, 7)
        )
    monkeypatch.undo()
    assert lost
    assert values_in(store) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    continued(tracker_of(tmp_path / "run", store), 5, 6)
    assert values_in(store) == [(step, float(step)) for step in range(1, 7)]


def test_what_was_told_stays_told_through_two_kills(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at step 6 with the checkpoint of step 2, and again at step 4."""
    engine_of(tracker_of(tmp_path / "run", store)).run(range(1, 7))
    for last in (4, 8):
        continued(tracker_of(tmp_path / "run", store), 2, last)
    steps = [step for step, _ in values_in(store)]
    assert [step for step in steps if step != 6] == [1, 2, 3, 4, 5, 7, 8]


def test_a_value_is_told_as_it_will_be_read_back(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path / "run", "http://127.0.0.1:9")
    tracker.folder.mkdir()
    tracker.log({"rate": float(torch.tensor(0.01))}, 1)
    (reported,) = tracker._rows
    tracker.flush()
    assert History(tmp_path / "run" / "history.csv").read() == [reported]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--workers", "1"),
        *("--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310
                    break
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_a_running_server_is_told_everything(tmp_path: Path, server: str) -> None:
    tracker = tracker_of(tmp_path / "run", server)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"weights")
    engine_of(tracker).run(range(1, 7))
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("left_atrium")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(i, float(i)) for i in range(1, 7)]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"history.csv", "model.pt", "run.json"} <= files
