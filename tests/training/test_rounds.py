"""Self-training in rounds, with the real bundle on phantoms."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.errors import MedsemiError
from medsemi.training import rounds
from medsemi.training.rounds import Rounds, _refuse_other_rounds
from medsemi.training.tracking import Tracker


def arguments(repository: Path, folder: Path, *options: str) -> list[str]:
    bundle = repository / "bundles" / "left_atrium_mri_bcp"
    line = ["--bundle", str(bundle), "--dataset_dir", str(folder / "data")]
    line += ["--manifest", str(folder / "data" / "manifest.json")]
    line += ["--output_dir", str(folder / "runs" / "rounds")]
    return [*line, "--overlay", str(bundle / "configs" / "demo.yaml"), *options]


def command(repository: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = str(repository / "scripts" / "self_training.py")
    return subprocess.run(
        [sys.executable, script, *arguments(repository, folder, *options)], check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_rounds_train_on_what_the_round_before_labeled(repository: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "data", count=6, shape=(32, 32, 32), labeled=2, validation=1, test=1)
    options = ("--keep", "0.5", "--", "--pretrain_steps", "40", "--train_steps", "40")
    options += ("--filters", "4", "--learning_rate", "0.05")
    first = command(repository, tmp_path, *options)
    assert first.returncode == 0, first.stdout[-1000:] + first.stderr[-2000:]

    runs = tmp_path / "runs" / "rounds"
    made = load_manifest(runs / "round_1" / "manifest.json")
    assert (len(made.labeled), len(made.unlabeled), len(made.test)) == (3, 1, 0)
    records = sorted((runs / "round_0" / "pseudo_label" / "records").glob("*.json"))
    assert len(records) == 2
    assert len(json.loads(records[0].read_text())["origin"]["weights"]) == 64

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    parent = json.loads((runs / "rounds" / "run.json").read_text())["run_id"]
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.data.tags["medsemi.stage"] for run in children} == {"supervised"}
    assert len(children) == 2
    assert "kept" in client.get_run(parent).data.metrics

    weights = runs / "round_1" / "supervised" / "model.pt"
    before = weights.stat().st_mtime_ns
    again = command(repository, tmp_path, *options)
    assert again.returncode == 0, again.stderr[-2000:]
    assert weights.stat().st_mtime_ns == before


def test_rounds_of_other_settings_are_refused(tmp_path: Path) -> None:
    def tracker(keep: str) -> Tracker:
        return Tracker(
            tmp_path, tracking_uri=str(tmp_path / "mlflow.db"), experiment_name="one", run_name="one",
            stage="rounds", parameters={"keep": keep}, tags={},
        )  # fmt: skip

    first = tracker("0.5")
    _refuse_other_rounds(first)
    known = {"parameters": first.parameters, "tags": first.tags}
    (tmp_path / "run.json").write_text(json.dumps(known))
    _refuse_other_rounds(tracker("0.5"))
    with pytest.raises(MedsemiError, match=r"other rounds \(keep differ\)"):
        _refuse_other_rounds(tracker("0.8"))


@pytest.fixture
def main(repository: Path) -> Callable[[list[str]], int]:
    entry: Callable[[list[str]], int] = runpy.run_path(
        str(repository / "scripts" / "self_training.py")
    )["main"]
    return entry


@pytest.fixture
def given() -> list[Rounds]:
    """The rounds that the command would run."""
    return []


@pytest.fixture
def parameters(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[Rounds],
    main: Callable[[list[str]], int],
) -> Callable[..., dict[str, str]]:
    """What the command tells the parent run, by which rounds are known; no round is run."""
    make_phantoms(tmp_path / "data", count=4, shape=(16, 16, 16), labeled=1, validation=1, test=1)
    told: list[Tracker] = []

    def run_rounds(one: Rounds, tracker: Tracker) -> Path:
        given.append(one)
        told.append(tracker)
        return tmp_path

    monkeypatch.setattr(rounds, "run_rounds", run_rounds)

    def run(
        bundle: str = "left_atrium_mri_bcp",
        data: str = "data",
        options: Sequence[str] = (),
        **overlay: object,
    ) -> dict:
        file = tmp_path / "overlay.yaml"
        file.write_text(json.dumps(overlay))
        line = ["--bundle", str(repository / "bundles" / bundle), "--overlay", str(file)]
        line += ["--dataset_dir", str(tmp_path / data), "--output_dir", str(tmp_path / "runs")]
        line += ["--manifest", str(tmp_path / "data" / "manifest.json"), "--", *options]
        assert main(line) == 0
        return told[-1].parameters

    return run


def test_a_value_goes_to_the_stages_that_have_its_key(
    parameters: Callable[..., dict[str, str]], given: list[Rounds]
) -> None:
    address = "postgresql://host/runs?sslmode=require"
    parameters(options=["--decay_every", "7", "--tracking_uri", address])
    assert given[-1].overrides == {
        "supervised": {"decay_every": "7", "tracking_uri": address},
        "pseudo_label": {"tracking_uri": address},
    }


def test_rounds_are_known_by_bundle_configuration_and_data(
    parameters: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    first = parameters()
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    assert parameters(data="moved", output_dir="elsewhere") == first
    assert parameters(options=["--tracking_uri", "http://ann:secret@server"]) == first
    assert parameters(options=["--seed", "3"]) != first
    assert parameters(filters=8)["settings"] != first["settings"]
    other = parameters("any_organ_bcp")
    assert (other["bundle"], first["bundle"]) == ("any_organ_bcp", "left_atrium_mri_bcp")
    case = load_manifest(tmp_path / "data" / "manifest.json").labeled[0]
    with (tmp_path / "moved" / case.image).open("ab") as file:
        file.write(b"more")
    assert parameters(data="moved")["data"] != first["data"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keep", "1.5"), "give shares above 0 and up to 1"),
        (("--", "--seed"), "write pairs of --name and value"),
        (("--stages", "pretrain", "method"), "--stages names method, which is no training"),
        (("--stages", "evaluate"), "--stages names evaluate, which is no training"),
        (("--stages", "sleep"), "sleep.yaml does not exist; check --bundle, --stages"),
        (
            ("--stages", "pretrain", "train"),
            "labels all 1 unlabeled patients, and train learns from",
        ),
        (("--", "--manifest", "other.json"), "--manifest after -- would change"),
        (("--", "--output_dir=/elsewhere"), "--output_dir after -- would change"),
        (("--", "--lerning_rate", "1"), "--lerning_rate: no stage has this key"),
        (("--overlay", "trained.yaml"), "pseudo_label: "),
        (("--output_dir", "trained.yaml"), "trained.yaml/rounds: cannot be written"),
        (("--output_dir", "/proc"), "/proc/rounds: cannot be written"),
    ],
)
def test_wrong_input_is_one_sentence(
    repository: Path,
    tmp_path: Path,
    main: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_phantoms(tmp_path / "data", count=4, shape=(16, 16, 16), labeled=1, validation=1, test=1)
    (tmp_path / "trained.yaml").write_text("train::trainer::compile: true\n")
    assert main(arguments(repository, tmp_path, *options)) == 2
    assert said in capsys.readouterr().err


ROUNDS_THAT_WAIT = """
import runpy, subprocess, sys
from medsemi.training import rounds

def wait(*_):
    subprocess.run([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(99)"])

rounds.run_rounds = wait
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_terminated_command_ends_what_it_started(repository: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "data", count=4, shape=(16, 16, 16), labeled=1, validation=1, test=1)
    line = [sys.executable, "-c", ROUNDS_THAT_WAIT, str(repository / "scripts/self_training.py")]
    line += ["--bundle", str(repository / "bundles/left_atrium_mri_bcp"), "--dataset_dir", "data"]
    line += ["--manifest", "data/manifest.json", "--output_dir", "runs"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
