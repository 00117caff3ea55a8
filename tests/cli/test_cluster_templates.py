"""The templates for schedulers are valid, and their command is one that we understand."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsemi.cli.predict import add_parser, options_of


@pytest.fixture(scope="module")
def slurm(repository: Path) -> Path:
    return repository / "docs" / "cluster" / "slurm_array.sbatch"


@pytest.fixture(scope="module")
def job(repository: Path) -> Any:
    path = repository / "docs" / "cluster" / "kubernetes_indexed_job.yaml"
    return yaml.safe_load(path.read_text())["spec"]


def container(job: Any) -> Any:
    (found,) = job["template"]["spec"]["containers"]
    return found


def parse(line: str, **variables: str) -> argparse.Namespace:
    """Parse the one line with `medsemi predict`, as the shell would hand it over."""
    echo = f'printf "%s\\n" {line}'
    words = subprocess.run(
        ["bash", "-euc", echo], env=variables, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(words)


def predict_line(script: str) -> str:
    (line,) = [
        line for line in script.splitlines() if "medsemi predict" in line and "#" not in line
    ]
    match = re.search(r"medsemi (predict .*?)(?: &| \|\| .*)?$", line)
    assert match is not None
    return match[1]


def fake_medsemi(folder: Path, script: str) -> dict[str, str]:
    for name, body in {"medsemi": script, "srun": 'exec "$@"'}.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_slurm_script_is_valid(slurm: Path) -> None:
    subprocess.run(["bash", "-n", slurm], check=True)
    settings = re.findall(r"^#SBATCH --(\S+)", slurm.read_text(), re.MULTILINE)
    assert {"array=0-7", "signal=TERM@60"} <= set(settings)


def test_the_slurm_command_is_understood(slurm: Path) -> None:
    given = parse(
        predict_line(slurm.read_text()), INPUT="a b", MODEL="m", OUT="o", part="3", parts="8"
    )
    assert (given.inputs, given.model, given.out) == ([Path("a b")], Path("m"), Path("o"))
    assert options_of(given).shard == (3, 8)


@pytest.mark.parametrize(("ended", "told"), [(0, 0), (1, 1), (2, 0), (3, 0), (4, 4), (130, 130)])
def test_a_slurm_task_runs_its_part(tmp_path: Path, slurm: Path, ended: int, told: int) -> None:
    environment = {
        **fake_medsemi(tmp_path, f'echo "$@"; exit {ended}'),
        "INPUT": "in",
        "MODEL": "m",
        "OUT": "o",
        "SLURM_ARRAY_TASK_ID": "12",
        "SLURM_ARRAY_TASK_MIN": "10",
        "SLURM_ARRAY_TASK_COUNT": "5",
    }
    task = subprocess.run(
        ["bash", slurm], env=environment, check=False, capture_output=True, text=True
    )
    assert task.returncode == told
    assert shlex.split(task.stdout)[-2:] == ["--shard", "3/5"]


def test_the_job_is_consistent(job: Any) -> None:
    assert job["completionMode"] == "Indexed"
    (parts,) = [entry["value"] for entry in container(job)["env"] if entry["name"] == "PARTS"]
    assert job["completions"] == int(parts)
    assert job["parallelism"] <= job["completions"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    mounts = {mount["name"] for mount in container(job)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in job["template"]["spec"]["volumes"]}


def test_the_command_of_a_pod_is_understood(job: Any) -> None:
    given = parse(predict_line(container(job)["args"][0]), JOB_COMPLETION_INDEX="7", PARTS="8")
    assert options_of(given).shard == (8, 8)
    assert str(given.out) in {mount["mountPath"] for mount in container(job)["volumeMounts"]}


@pytest.mark.parametrize(("ended", "told"), [(0, 0), (1, 1), (2, 0), (3, 0), (4, 4), (130, 130)])
def test_a_pod_ends_as_its_part_does(tmp_path: Path, job: Any, ended: int, told: int) -> None:
    environment = {
        **fake_medsemi(tmp_path, f"exit {ended}"), "JOB_COMPLETION_INDEX": "0", "PARTS": "8",
    }  # fmt: skip
    command = ["bash", "-c", *container(job)["args"]]
    assert subprocess.run(command, env=environment, check=False).returncode == told


def test_a_pod_hands_its_signal_on(tmp_path: Path, job: Any) -> None:
    # The pod must know the number of its child before it is told to end.
    script = (
        f'trap "sleep 0.2; exit 130" TERM; sleep 0.3; touch {tmp_path}/up;'
        " for _ in $(seq 2000); do sleep 0.05; done"
    )
    environment = {**fake_medsemi(tmp_path, script), "JOB_COMPLETION_INDEX": "0", "PARTS": "8"}
    pod = subprocess.Popen(["bash", "-c", *container(job)["args"]], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pod.send_signal(signal.SIGTERM)
    assert pod.wait(60) == 130
