"""What is trained and scored: one arm per method and seed, each a few commands of the bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import yaml

from medsemi.atomic import make_writable
from medsemi.bundle.merged import PLACES, settings_digest
from medsemi.bundle.overlays import named_overlay
from medsemi.data.manifest import Manifest, load_manifest
from medsemi.errors import ConfigError, MedsemiError
from medsemi.methods.registry import MethodEntry, find_method

Training = TypeVar("Training")

TWIN = "supervised"
# Files of each workflow, below the overlays.
WORKFLOWS = {
    "method_pretrain": ("common", "method_pretrain"),
    "method": ("common", "method"),
    "evaluate": ("common", "method", "evaluate", "method_evaluate"),
}
# An arm has a seed and a method of its own.
_LEFT_OUT = (*PLACES, "seed", "method_name")
# Nor do scores depend on what is asked for beside them, or on how they are reported.
_NO_SCORES = (
    *_LEFT_OUT, "role", "reason", "evaluated", "weights_dir", "results_dir", "extra_metrics",
    "initialize", "run", "cases::weights_dir", "evaluation::tracker",
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One training of one method.

    Attributes:
        method: name of the registry.
        seed: of everything that is drawn.
    """

    method: str
    seed: int

    @property
    def entry(self) -> MethodEntry:
        """What the registry says of the method."""
        return find_method(self.method)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that train, which are those of their folders."""
        before = (f"{self.method}_pretrain",) if self.entry.pretraining else ()
        return (*before, self.method)

    @property
    def name(self) -> str:
        """Name of the arm in files."""
        return f"{self.method}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        bundle: folder of the bundle whose streams and network all methods share.
        dataset_dir: where the paths of the manifest start.
        manifest_path: the split.
        output: where trainings, records and reports go.
        methods: compared beside the supervised twin, which is always trained.
        seeds: of the trainings of each method.
        overlays: configuration files of the bundle on top, by name or path.
        role: `validation` or `test`.
        reason: why the test list is opened.
        tracking_uri: an MLflow server or file; empty is `mlflow.db` in `output`.
    """

    bundle: Path
    dataset_dir: Path
    manifest_path: Path
    output: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    overlays: tuple[str, ...] = ()
    role: str = "validation"
    reason: str = ""
    tracking_uri: str = ""

    @cached_property
    def manifest(self) -> Manifest:
        """The split, validated."""
        return load_manifest(self.manifest_path)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All trainings, seed by seed, the supervised twin first.

        Raises:
            ConfigError: if there is no such method.
        """
        names = dict.fromkeys((TWIN, *self.methods))
        arms = tuple(Arm(name, seed) for seed in self.seeds for name in names)
        for arm in arms:
            find_method(arm.method)
        return arms

    @property
    def tracking(self) -> str:
        """Address of MLflow."""
        return self.tracking_uri or f"sqlite:///{(self.output / 'mlflow.db').resolve()}"

    @property
    def experiment(self) -> str:
        """One experiment of MLflow for each configuration, so that only equals are found there."""
        return f"compare_{self.bundle.resolve().name}_{self.settings_digest[:8]}"

    @cached_property
    def settings_digest(self) -> str:
        """SHA-256 (hex) of the merged configuration, without places and names.

        Raises:
            ConfigError: if a file cannot be read.
        """
        workflows = [self.files(workflow) for workflow in ("method_pretrain", "method")]
        return settings_digest(workflows, _LEFT_OUT)

    @cached_property
    def evaluation_digest(self) -> str:
        """SHA-256 (hex) of how networks are scored, that of the training included.

        Raises:
            ConfigError: if a file cannot be read.
        """
        return settings_digest([self.files("evaluate")], _NO_SCORES)

    def files(self, workflow: str) -> list[Path]:
        """The configuration files of a workflow, overlays last.

        Raises:
            ConfigError: if one is missing.
        """
        configs = self.bundle / "configs"
        paths = [configs / f"{name}.yaml" for name in WORKFLOWS[workflow]]
        paths += [named_overlay(self.bundle, name) for name in self.overlays]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise ConfigError(f"{missing[0]} does not exist; check --bundle and --overlay.")
        # Links stay: the bundle is the folder that holds them, not the one that they lead to.
        return [path.absolute() for path in paths]

    def folder(self, arm: Arm) -> Path:
        """The output of the bundle; the methods of a seed share it, other settings have another."""
        return (self.output / f"runs_{self.settings_digest[:8]}" / f"seed_{arm.seed}").resolve()

    def evaluation(self, arm: Arm) -> Path:
        """The run folder of the evaluation."""
        name = f"{arm.method}_{self.role}_{self.evaluation_digest[:8]}"
        return self.folder(arm) / "evaluate" / name

    def command(self, arm: Arm, workflow: str) -> list[str]:
        """The command line of one workflow of an arm."""
        files = self.files(workflow)
        options = {
            "bundle_root": self.bundle.resolve(),
            "dataset_dir": self.dataset_dir.resolve(),
            "manifest": self.manifest_path.resolve(),
            "output_dir": self.folder(arm),
            "tracking_uri": self.tracking,
            "experiment_name": self.experiment,
            "seed": arm.seed,
            "method_name": arm.method,
        }
        if workflow == "evaluate":
            options |= {"role": self.role, "results_dir": self.evaluation(arm)}
            if self.role == "test" and "reason" in _top_keys(files):
                # Quoted, or the command line takes words with commas, or numbers, for something else.
                options["reason"] = repr(self.reason)
        line = [
            sys.executable,
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            str([*map(str, files)]),
        ]
        return [*line, *(part for k, v in options.items() for part in (f"--{k}", str(v)))]


def missing_workflows(plan: Plan, arm: Arm) -> list[str]:
    """The workflows of an arm that are not finished, in order."""
    folder = plan.folder(arm)
    done = {
        "method_pretrain": (folder / f"{arm.method}_pretrain" / "model.pt").is_file(),
        # The bundle is the last thing that a training writes.
        "method": (folder / arm.method / "bundle").is_dir(),
        # The picture of the worst case is the last thing that an evaluation writes.
        "evaluate": any(plan.evaluation(arm).glob("extremes/worst_*.png")),
    }
    done["method_pretrain"] |= not arm.entry.pretraining
    return [workflow for workflow, finished in done.items() if not finished]


def run_arm(plan: Plan, arm: Arm) -> None:
    """Run what an arm lacks; a training that was killed continues.

    Raises:
        MedsemiError: if a command fails; it names the log and repeats its last line.
        OutputError: if the folder of the log cannot be written.
    """
    log = plan.output / "logs" / f"{arm.name}.log"
    make_writable(log.parent)
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    for workflow in missing_workflows(plan, arm):
        command = plan.command(arm, workflow)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            done = subprocess.run(command, stdout=file, stderr=file, check=False, env=environment)
        if done.returncode != 0:
            last = (log.read_text(encoding="utf-8", errors="replace").splitlines() or [""])[-1]
            raise MedsemiError(f"{arm.name}: {workflow} failed: {last} The whole log is {log}.")


def shard(trainings: Sequence[Training], text: str) -> list[Training]:
    """The trainings of one of several processes or machines.

    Args:
        trainings: all of them.
        text: `I/N`: every N-th one, from the I-th; I counts from 0.

    Raises:
        ConfigError: if `text` says something else.
    """
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise ConfigError(f"--shard is '{text}'; give I/N with I from 0 to N - 1, such as 0/2.")
    return list(trainings)[int(first) :: int(count)]


def _top_keys(files: Sequence[Path]) -> set[str]:
    return {str(key) for path in files for key in yaml.safe_load(path.read_text("utf-8"))}
