"""The ablation of CFC-Net on root-canal phantoms: trains what is missing, writes records and a report.

Usage: python benchmarks/root_canal_ablation.py --runs DIR [--scale first] [--rows 1,6] [--seeds 0,1,2]
           [--shard I/N] [--report]

The rows are those of `root_canal_ablation.yaml`. All share phantoms, split, network, stream and number
of optimizer steps: what a row trains before its method (stage 0) counts, and a supervised training
has the sum. A row with a start shares it with all rows that name the same one. The last checkpoint is
scored, all networks of it, on the validation phantoms; nothing is chosen by a score.

Each finished training writes one record into `root_canal_ablation/`, so that results gather over days
and machines. A training that was killed continues in `--runs`. The report is written from the records
alone: those whose settings are the ones of the YAML file today.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from ignite.engine import Events
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd
from root_canal_report import row_settings, total, write_report
from torch import nn

from medsemi.atomic import write_atomically
from medsemi.comparison.jobs import shard
from medsemi.data.manifest import Manifest, load_manifest
from medsemi.data.root_canal_phantom import make_root_canal_phantoms
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume, VolumeStore
from medsemi.errors import ConfigError
from medsemi.evaluation.extra_metrics import extra_metrics, score_extra
from medsemi.evaluation.metrics import score_case
from medsemi.evaluation.protocol import WindowInference, labels_from
from medsemi.methods.bcp import BCP, CopyPastePretraining
from medsemi.methods.cfcnet import CFCNet, RandomViewPretraining
from medsemi.methods.frequency_copy_paste import FrequencyCopyPaste
from medsemi.methods.mean_teacher import MeanTeacher
from medsemi.methods.method import Method
from medsemi.methods.supervised import Supervised
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import FrequencyViews
from medsemi.seeds import derive_seed
from medsemi.training.checkpoint import load_weights
from medsemi.training.provenance import device_name, provenance_tags
from medsemi.training.schedules import Polynomial
from medsemi.training.trainer import SemiSupervisedTrainer

HERE = Path(__file__).parent
Settings = dict[str, Any]
# Of a stage, wall and CPU; None where they are unknown.
Seconds = dict[str, float | None]
METHODS: dict[str, Callable[..., Method]] = {
    "supervised": Supervised,
    "mean_teacher": MeanTeacher,
    "copy_paste_pretraining": CopyPastePretraining,
    "bcp": BCP,
    "random_views": RandomViewPretraining,
    "cfcnet": CFCNet,
    "frequency_copy_paste": FrequencyCopyPaste,
}
# What is averaged over networks without another pass: inference costs as many as are named.
MEANS = {"students": ("student_low", "student_high")}
MEANS["all"] = (*MEANS["students"], "teacher")


@dataclass(frozen=True)
class Training:
    """One row with one seed at one scale.

    Attributes:
        scale: name of the scale.
        row: name of the row.
        seed: of weights, windows and draws; phantoms and split are those of every seed.
        settings: everything that the result depends on but the seed.
    """

    scale: str
    row: str
    seed: int
    settings: Settings

    def record(self, records: Path) -> Path:
        """The file that a finished training writes."""
        return records / f"{self.scale}-{self.row}-{self.seed}.json"

    def finished(self, records: Path) -> bool:
        """Whether there is a record of these very settings."""
        path = self.record(records)
        return path.is_file() and json.loads(path.read_text())["settings"] == self.settings


def trainings(
    plan: Settings, scale: str, rows: Sequence[str], seeds: Sequence[int]
) -> list[Training]:
    """All trainings of these rows, row by row, in the order of the plan."""
    return [
        Training(scale, row, seed, row_settings(plan, scale, row))
        for row, described in plan["rows"].items()
        if row in rows and "of" not in described
        for seed in seeds
    ]


@dataclass(frozen=True)
class Data:
    """Prepared volumes: labeled, unlabeled, validation."""

    labeled: list[Volume]
    unlabeled: list[Volume]
    validation: list[Volume]
    classes: dict[int, str]


def prepare(common: Settings, runs: Path) -> Data:
    """Make the phantoms once, and standardize each of them."""
    asked = common["phantoms"]
    folder = runs / f"phantoms-{digest(asked)}"
    if not (folder / "manifest.json").is_file():
        print(f"making {asked['count']} phantoms in {folder}", flush=True)
        shapes = {key: tuple(asked[key]) for key in ("shape", "spacing")}
        make_root_canal_phantoms(folder, **{**asked, **shapes})
    manifest: Manifest = load_manifest(folder / "manifest.json")
    keys = ["image", "label"]
    transforms = Compose(
        [
            LoadImaged(keys, allow_missing_keys=True),
            EnsureChannelFirstd(keys, allow_missing_keys=True),
            NormalizeIntensityd("image"),
        ]
    )
    store = VolumeStore(folder, transforms, folder / "cache")
    return Data(
        store.volumes(manifest.labeled, True),
        store.volumes(manifest.unlabeled, False),
        store.volumes(manifest.validation, True),
        manifest.classes,
    )


def digest(value: object) -> str:
    """A short name of settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def new_network(common: Settings, seed: int, purpose: str) -> nn.Module:
    """A U-Net with instance norm, whose first level has the resolution of the window."""
    torch.manual_seed(derive_seed(seed, purpose))
    norm = ("instance", {"affine": True})
    return UNet(3, 1, 2, common["channels"], common["strides"], norm=norm)


def new_method(stage: Settings, common: Settings, steps: int, *networks: nn.Module) -> Method:
    """The method of a row or of a stage 0, around one network or two."""
    name, options = stage["method"], dict(stage.get("options", {}))
    if name in ("mean_teacher", "cfcnet"):
        options["rampup_steps"] = round(common["rampup_share"] * steps)
    if name in ("random_views", "cfcnet", "frequency_copy_paste"):
        given = stage.get("views", {})
        options["views"] = FrequencyViews(**({"kind": "none"} if given == "plain" else given))
    if name == "cfcnet":
        options["mix"] = UCFMix(**{"blocks": common["blocks"], **stage.get("mix", {})})
    return METHODS[name](*networks, **options)


def train_stage(
    method: Method, steps: int, seed: int, common: Settings, data: Data, folder: Path, purpose: str
) -> Seconds:
    """Train, or continue, or load what was trained; returns seconds of all its steps.

    Time is measured over the steps of this process and, where it continues another one, taken for all;
    it is unknown where that one had done them all.
    """
    timing = folder / "timing.json"
    if timing.is_file():
        for name, network in method.networks.items():
            load_weights(network, folder / f"{name}.pt")
        return dict(json.loads(timing.read_text()))
    stream = StepStream(
        data.labeled,
        data.unlabeled,
        window=common["window"],
        labeled_windows=common["labeled_windows"],
        unlabeled_windows=common["unlabeled_windows"],
        seed=derive_seed(seed, purpose),
        flip_rule=common["flip_rule"],
        foreground_probability=common["foreground_probability"],
    )
    trainable = [p for p in method.parameters() if p.requires_grad]
    rate = float(common["learning_rate"])
    trainer = SemiSupervisedTrainer(
        device="cpu",
        method=method,
        optimizer=torch.optim.AdamW(trainable, rate, weight_decay=common["weight_decay"]),
        stream=stream,
        steps=steps,
        output_dir=folder,
        settings={"steps": steps, "seed": seed, "common": common, "purpose": purpose},
        learning_rate=Polynomial(rate, steps),
        gradient_clip=common["gradient_clip"],
        checkpoint_interval=25,
    )
    trainer.logger.setLevel(logging.WARNING)
    begun: list[int] = []
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: begun.append(trainer.state.iteration)
    )
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.run()
    measured = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }
    spent = {n: s * steps / len(begun) if begun else None for n, s in measured.items()}
    with write_atomically(timing) as temporary:
        temporary.write_text(json.dumps(spent))
    return spent


def run(training: Training, data: Data, runs: Path) -> tuple[Method, dict[str, Seconds]]:
    """Train stage 0, or take the one of another row, and then the method; returns times by stage."""
    common, row, start = (training.settings[key] for key in ("common", "row", "start"))
    scale, seed = runs / f"{training.scale}-{digest(common)}", training.seed
    networks, times = [new_network(common, seed, "weights")], {}
    steps = common["steps"]
    if start is None:
        steps += common["start_steps"]
    else:
        purposes = ["weights", "other weights"] if row.get("apart") else ["weights"]
        networks = []
        for purpose in purposes:
            method = new_method(
                start, common, common["start_steps"], new_network(common, seed, purpose)
            )
            folder = scale / f"start-{digest([start, purpose])}-{seed}"
            key = "start" if purpose == "weights" else "second start"
            times[key] = train_stage(
                method, common["start_steps"], seed, common, data, folder, f"start/{purpose}"
            )
            networks.append(method.inference_network)
        if row["method"] is None:
            return method, times
    method = new_method(row, common, steps, *networks)
    folder = scale / f"{training.row}-{digest([row, start])}-{seed}"
    times["method"] = train_stage(method, steps, seed, common, data, folder, "method")
    return method, times


def score(method: Method, data: Data, common: Settings) -> dict[str, dict[str, list[float | None]]]:
    """Metrics of every network, and of means of their probabilities: network -> metric -> cases.

    A mean over networks of what overlapping windows average is the average of their means, so that
    it needs no pass of its own.
    """
    inference = WindowInference(common["window"], common["stride"], weighting="gaussian")
    asked = extra_metrics(["centerline_dice", "canals"])
    found: dict[str, dict[str, list[float | None]]] = {}
    for volume in data.validation:
        image = torch.from_numpy(np.array(volume.image, dtype=np.float32))[None]
        asked_of = {k: n.eval() for k, n in method.networks.items() if k not in MEANS}
        with torch.inference_mode():
            voices = {k: inference(image, network) for k, network in asked_of.items()}
        for name, members in MEANS.items():
            if set(members) <= set(voices):
                voices[name] = torch.stack([voices[member] for member in members]).mean(0)
        reference = np.asarray(volume.label)
        for name, probabilities in voices.items():
            labels = labels_from(probabilities)[0].numpy()
            (structure,) = score_case(labels, reference, data.classes, volume.spacing).values()
            (extra,) = score_extra(asked, labels, reference, data.classes, volume.spacing).values()
            numbers = {"dice": structure.dice, "hd95_mm": structure.hd95_mm, **extra}
            for metric, value in numbers.items():
                shown = None if np.isnan(value) else round(float(value), 4)
                found.setdefault(name, {}).setdefault(metric, []).append(shown)
    return found


def rounded(spent: Seconds) -> Seconds:
    """Tenths of a second."""
    return {clock: None if s is None else round(s, 1) for clock, s in spent.items()}


def write_record(
    training: Training,
    method: Method,
    times: Mapping[str, Seconds],
    scores: Mapping[str, object],
    data: Data,
    records: Path,
) -> None:
    """Write what is kept of a training."""
    tags, common = provenance_tags(), training.settings["common"]
    deployed = next(k for k, n in method.networks.items() if n is method.inference_network)
    record = {
        "row": training.row,
        "seed": training.seed,
        "scale": training.scale,
        "steps": common["start_steps"]
        + (common["steps"] if training.settings["row"]["method"] else 0),
        "times": {stage: rounded(spent) for stage, spent in times.items()},
        "deployed": deployed,
        "cases": [volume.case_id for volume in data.validation],
        "scores": scores,
        "date": datetime.date.today().isoformat(),
        "machine": f"{device_name('cpu')}, {os.cpu_count()} cores, {platform.system()}",
        "revision": tags.get("medsemi.revision", ""),
        "revision_changed": tags.get("medsemi.revision_changed", ""),
        "torch": tags["medsemi.torch"],
        "settings": training.settings,
    }
    records.mkdir(parents=True, exist_ok=True)
    with write_atomically(training.record(records)) as temporary:
        temporary.write_text(json.dumps(record) + "\n")


def mine(part: str, all_of_them: Sequence[Training]) -> list[Training]:
    """The trainings of one shard; a seed stays in one, so that no two train its stage 0 at once.

    Raises:
        ConfigError: if `part` is not I/N.
    """
    seeds = shard(sorted({training.seed for training in all_of_them}), part)
    return [training for training in all_of_them if training.seed in seeds]


def work(training: Training) -> float:
    """Supervised steps that take as long, to tell how much time is left."""
    common, row = training.settings["common"], training.settings["row"]
    if row["method"] is None:
        return float(common["start_steps"])
    networks = [new_network(common, 0, "weights") for _ in range(2 if row.get("apart") else 1)]
    steps = common["steps"] * new_method(row, common, 1, *networks).cost
    return float(steps + common["start_steps"])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=Path, help="where phantoms and trainings lie")
    parser.add_argument("--scale", default="first", help="full, first or tiny (%(default)s)")
    parser.add_argument("--rows", help="such as 1,2b,6; all of them by default")
    parser.add_argument("--seeds", default="0,1,2", help="(%(default)s)")
    parser.add_argument("--shard", default="0/1", help="I/N: take a part of the trainings")
    parser.add_argument("--plan", type=Path, default=HERE / "root_canal_ablation.yaml")
    parser.add_argument("--records", type=Path, default=HERE / "root_canal_ablation")
    parser.add_argument("--output", type=Path, default=HERE / "root_canal_ablation.md")
    parser.add_argument("--report", action="store_true", help="only write the report")
    given = parser.parse_args()
    given.plan = yaml.safe_load(given.plan.read_text())
    given.rows = given.rows.split(",") if given.rows else list(given.plan["rows"])
    unknown = [row for row in given.rows if row not in given.plan["rows"]]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; rows are {', '.join(given.plan['rows'])}")
    if given.scale not in given.plan["scales"]:
        parser.error(f"there is no scale {given.scale}; take {', '.join(given.plan['scales'])}")
    if given.runs is None and not given.report:
        parser.error("--runs is needed to train")
    try:
        mine(given.shard, [])
    except ConfigError as error:
        parser.error(str(error))
    return given


def told(training: Training, times: Mapping[str, Seconds], scores: Mapping[str, Any]) -> str:
    """One line about a finished training."""
    seconds = total([spent["seconds"] for spent in times.values()])
    dice = ", ".join(f"{name} {np.mean(metrics['dice']):.3f}" for name, metrics in scores.items())
    took = "-" if seconds is None else f"{seconds:.0f} s"
    return f"row {training.row}, seed {training.seed}: {took}, Dice {dice}"


def main() -> None:
    """Train and score what has no record yet, then write the report."""
    given = arguments()
    # MONAI and torch warn of what does not matter here; errors are errors.
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    seeds = [int(seed) for seed in given.seeds.split(",")]
    every = trainings(given.plan, given.scale, given.rows, seeds)
    if not given.report:
        waiting = [t for t in mine(given.shard, every) if not t.finished(given.records)]
        print(f"{len(waiting)} trainings to do at scale {given.scale}", flush=True)
        begin = time.perf_counter()
        for number, training in enumerate(waiting, start=1):
            common = training.settings["common"]
            data = prepare(common, given.runs)
            method, times = run(training, data, given.runs)
            scores = score(method, data, common)
            write_record(training, method, times, scores, data, given.records)
            done, rest = (sum(map(work, part)) for part in (waiting[:number], waiting[number:]))
            left = (time.perf_counter() - begin) / done * rest / 60
            line = told(training, times, scores)
            print(f"{number} of {len(waiting)}: {line}; {left:.0f} min left", flush=True)
            write_report(given.plan, given.scale, given.records, given.output)
    write_report(given.plan, given.scale, given.records, given.output)


if __name__ == "__main__":
    main()
