"""Few labels, many scans: train, compare and segment phantoms in about ten minutes.

Makes phantom volumes, trains the supervised baseline and bidirectional copy-paste (BCP) with the
same labels, network and student steps, scores both on held-out phantoms, and segments a folder that
holds a NIfTI file and a DICOM series, with the network that is ahead on the validation phantoms. Every
step is one command, printed before it runs; a demo that was stopped continues.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from medsemi.termination import exit_when_terminated

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "left_atrium_mri_bcp"
LABELED = 2
STEPS = {"pretrain": 250, "train": 750, "supervised": 1000}
DEPLOYED = "average"  # of the weights, as recipe.yaml asks
NAMES = {"pretrain": "BCP, pre-training", "train": "BCP, self-training", "supervised": "supervised"}


@dataclass
class Demo:
    """Where everything of the demo lies, and how its commands are started."""

    output: Path
    seed: int
    console: Console = field(default_factory=Console)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The phantoms."""
        return self.output / "phantoms"

    @property
    def runs(self) -> Path:
        """The output of the bundle."""
        return self.output / "bundle"

    @property
    def archive(self) -> Path:
        """What is segmented at the end."""
        return self.output / "archive"

    @property
    def results(self) -> Path:
        """The output of `medsemi predict`."""
        return self.output / "results"

    def command(self, stage: str, *options: str) -> list[str]:
        """The command line of one stage of the bundle."""
        names = ("common", stage, "demo", "recipe")
        files = [str(BUNDLE / "configs" / f"{name}.yaml") for name in names]
        return [
            *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)),
            *("--bundle_root", str(BUNDLE), "--dataset_dir", str(self.data)),
            *("--manifest", str(self.data / "manifest.json"), "--output_dir", str(self.runs)),
            *("--tracking_uri", f"sqlite:///{self.output.parent / 'mlflow.db'}"),
            *("--experiment_name", "demo", "--seed", str(self.seed), *options),
        ]

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in the background; what it prints goes to a file of that name."""
        self.console.print(f"[dim]$ {' '.join(command[1:])}[/dim]", highlight=False, soft_wrap=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.output / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)
        self.started.append(process)
        return process

    def finish(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait for a command; if it failed, say where it tells why, and stop."""
        if process.wait() != 0:
            self.console.print(f"{name} failed; {self.output / f'{name}.log'} tells why.")
            raise SystemExit(1)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around commands that run side by side: none of them outlasts the block.

        Where one failed or the demo is stopped, another one would hold its folder.
        """
        try:
            yield
        finally:
            for process in self.started:
                process.terminate()
                process.wait()
            self.started.clear()


def make_data(demo: Demo) -> None:
    """Make the phantoms, once."""
    from medsemi.data.phantoms import make_phantoms

    if not (demo.data / "manifest.json").is_file():
        with demo.console.status("making 40 phantoms"):
            make_phantoms(demo.data, seed=demo.seed, labeled=LABELED)
    demo.console.print(f"40 phantoms, {LABELED} of them labeled for training: {demo.data}")


def steps_done(demo: Demo, stage: str) -> int:
    """The last step that a stage reported."""
    try:
        with (demo.runs / stage / "history.csv").open(encoding="utf-8") as file:
            return max((int(row["step"]) for row in csv.DictReader(file)), default=0)
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def train(demo: Demo) -> None:
    """Train both methods side by side, each with one thread, and show how far they are."""
    lanes: list[list[str]] = [["pretrain", "train"], ["supervised"]]
    running: dict[str, tuple[subprocess.Popen[bytes], list[str]]] = {}
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
    )
    progress = Progress(*columns, TimeElapsedColumn(), console=demo.console)
    bars: dict[str, TaskID] = {}
    with progress, demo.together():
        for lane in lanes:
            begin(demo, lane, running, bars, progress)
        while running:
            time.sleep(1)
            for stage, (process, lane) in list(running.items()):
                progress.update(bars[stage], completed=steps_done(demo, stage))
                if process.poll() is not None:
                    demo.finish(stage, process)
                    progress.update(bars[stage], completed=STEPS[stage])
                    del running[stage]
                    begin(demo, lane, running, bars, progress)


def begin(
    demo: Demo,
    lane: list[str],
    running: dict[str, tuple[subprocess.Popen[bytes], list[str]]],
    bars: dict[str, TaskID],
    progress: Progress,
) -> None:
    """Start the next stage of a lane, if there is one."""
    if lane:
        stage = lane.pop(0)
        bars[stage] = progress.add_task(NAMES[stage], total=STEPS[stage])
        running[stage] = (demo.start(stage, demo.command(stage)), lane)


def score(demo: Demo) -> None:
    """Score what was trained on the held-out phantoms."""
    options = ("--role", "test", "--reason", "the table of the demo", "--evaluated")
    with demo.console.status("scoring on held-out phantoms"), demo.together():
        started = {
            name: demo.start(name, demo.command("evaluate", *options, stage))
            for name, stage in (("evaluate_train", "train"), ("evaluate_supervised", "supervised"))
        }
        for name, process in started.items():
            demo.finish(name, process)


def make_archive(demo: Demo) -> None:
    """Put two held-out phantoms into a folder, as an archive would: a NIfTI file, a DICOM series."""
    import nibabel

    from medsemi.data.dicom_series import write_dicom_series
    from medsemi.data.manifest import load_manifest

    split = load_manifest(demo.data / "manifest.json")
    first, second = (demo.data / case.image for case in split.test[:2])
    demo.archive.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(first, demo.archive / first.name)
    image = nibabel.load(second)
    folder = demo.archive / "dicom"
    write_dicom_series(folder, image.get_fdata(dtype="float32"), image.affine, second.name)


def ahead(demo: Demo) -> str:
    """The training whose deployed network had the better Dice on the validation phantoms at its end."""
    last = {}
    for stage in ("train", "supervised"):
        with (demo.runs / stage / "history.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["name"] == f"val/dice_{DEPLOYED}"]
        last[stage] = float(rows[-1]["value"])
    return max(last, key=lambda stage: last[stage])


def segment(demo: Demo) -> None:
    """Segment a folder with the bundle that is ahead, as a clinician would."""
    make_archive(demo)
    stage = ahead(demo)
    demo.console.print(f"{NAMES[stage]} is ahead on the validation phantoms, and segments")
    command = [
        *(sys.executable, "-m", "medsemi", "predict", str(demo.archive)),
        *("--model", str(demo.runs / stage / "bundle"), "--out", str(demo.results)),
    ]
    shown = f"medsemi {' '.join(command[3:])}"
    demo.console.print(f"[dim]$ {shown}[/dim]", highlight=False, soft_wrap=True)
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        demo.console.print(f"predict failed; {demo.results / 'run.log'} tells why.")
        raise SystemExit(1)


def show(demo: Demo) -> None:
    """Print the table that was measured, in words who won, and where things are."""
    table = Table(
        title=f"Held-out phantoms, {LABELED} labeled cases, {STEPS['supervised']} student steps"
    )
    for column in ("method", "network", "labels", "Dice", "HD95 mm"):
        table.add_column(
            column, justify="right" if column in ("labels", "Dice", "HD95 mm") else "left"
        )
    dice: dict[str, float] = {}
    for stage, method in (("supervised", "supervised"), ("train", "BCP")):
        path = demo.runs / "evaluate" / f"{stage}_test_fast" / "summary.json"
        for network, scores in json.loads(path.read_text())["networks"].items():
            metrics = scores["overall"]["metrics"]
            dice[f"{method} {network}"] = metrics["dice"]["mean"]
            cells = (f"{metrics['dice']['mean']:.3f}", f"{metrics['hd95_mm']['mean']:.1f}")
            table.add_row(method, network, str(LABELED), *cells)
    demo.console.print(table)
    demo.console.print(verdict(dice))
    demo.console.print(f"pictures        {demo.runs}/*/overlays")
    demo.console.print(f"segmentations   {demo.results / 'report.html'}")
    demo.console.print("dashboard       make dashboard, then open http://127.0.0.1:5000")


def verdict(dice: dict[str, float]) -> str:
    """Say in words whether the unlabeled phantoms helped, for the network that is deployed."""
    gain = dice[f"BCP {DEPLOYED}"] - dice[f"supervised {DEPLOYED}"]
    if gain > 0:
        return f"BCP is ahead of the supervised baseline by {gain:.3f} Dice in this run."
    return f"BCP did not win in this run: it is {-gain:.3f} Dice behind the supervised baseline."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="where to write")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    demo = Demo(given.output.resolve(), given.seed)
    try:
        demo.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {given.output}: {error.strerror}; choose another folder.")
    started = time.monotonic()
    make_data(demo)
    train(demo)
    score(demo)
    segment(demo)
    show(demo)
    demo.console.print(f"took {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    exit_when_terminated()
    main()
