"""CPU time of a step with each switch of the recipe, by that without any; where the time of a step goes.

Usage: python benchmarks/recipe_cost.py [--window 64 64 32] [--steps 5] [--batches 40]
    [--dataset DIR --manifest JSON] [--output benchmarks/recipe_cost.md]

A step trains BCP on noise; its data are cut from volumes in memory-mapped files. Both parts are
measured apart, because geometry is drawn for a third of the windows and so needs many batches.
Each switch takes turns with the published values, and a number is the median of its rounds. Time is
that of this process, not of the clock, so that what else runs on the machine counts little. The parts
of a step are those of `training_speed.py`, of a tracked training with the `recipe.yaml` of the left
atrium and of one without, on the scans of a data set where one is given: masks of noise have more
components, and finding them takes longest of all there.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from training_speed import LEFT_OUT, MEASURED, breakdown, share_table, store_of

from medsemi.data.geometry import Geometry
from medsemi.data.manifest import load_manifest
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.bcp import BCP
from medsemi.networks.vnet import VNet
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.training.handlers import Progress
from medsemi.training.optimizers import build_optimizer
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer

Cost = tuple[float, float]

PUBLISHED = "published values"
# Keys of a bundle, as they stand in `recipe.yaml` or in place of a value there.
SWITCHES: tuple[dict[str, Any], ...] = (
    {"geometry_probability": 0.2},
    {"foreground_probability": 0.33},
    {"flip_rule": "symmetric"},
    {"intensity_probability": 1.0},
    {"intensity_probability": 3.0, "intensity_strength": 2.0},
    {"gradient_clip": 12},
    {"weight_average": 0.99},
    {"deep_supervision": 0.5},
    {"optimizer_name": "nesterov"},
    {"optimizer_name": "adamw"},
    {"norm": "instance"},
)
RECIPE = Path(__file__).resolve().parents[1] / "bundles/left_atrium_mri_bcp/configs/recipe.yaml"
OF_STREAM = ("foreground_probability", "flip_rule")
OF_TRAINER = ("gradient_clip", "weight_average", "deep_supervision")
OF_PARTS = (
    "dropout",
    "geometry_probability",
    "intensity_probability",
    "intensity_strength",
    "norm",
    "optimizer_name",
)
# Keys of the recipe that take no time of a step.
FREE = ("learning_rate", "weight_decay", "schedule_rule", "warmup_steps")
OUTPUT = Path(__file__).with_suffix(".md")


def label(switch: Mapping[str, Any]) -> str:
    """Name and value of what is switched on."""
    return ", ".join(f"{name} {value}" for name, value in switch.items())


@dataclass(frozen=True)
class Volumes:
    """What a training learns from."""

    labeled: Sequence[Volume]
    unlabeled: Sequence[Volume]


def make_volumes(folder: Path, edges: Sequence[int]) -> Volumes:
    """Write four volumes of noise with a ball in the middle, larger than a window."""
    volumes = []
    for number in range(4):
        random = np.random.default_rng(number)
        shape = tuple(2 * n for n in edges)
        squared = sum((np.indices(shape)[axis] - n) ** 2 for axis, n in enumerate(edges))
        np.save(folder / f"{number}.npy", random.normal(size=(1, *shape)).astype(np.float32))
        np.save(folder / f"{number}_label.npy", (squared < (min(edges) // 2) ** 2).astype(np.uint8))
        files = folder / f"{number}.npy", folder / f"{number}_label.npy"
        volumes.append(Volume(str(number), *files, np.eye(4)))
    return Volumes(volumes, [replace(volume, label_file=None) for volume in volumes])


def read_volumes(dataset: Path, manifest_path: Path, folder: Path) -> Volumes:
    """The labeled and the unlabeled scans of a data set."""
    manifest, store = load_manifest(manifest_path), store_of(dataset, folder)
    return Volumes(store.volumes(manifest.labeled, True), store.volumes(manifest.unlabeled, False))


def build(
    volumes: Volumes,
    folder: Path,
    edges: Sequence[int],
    settings: Mapping[str, Any],
    tracker: Tracker | None = None,
    filters: int = 8,
    num_workers: int = 0,
) -> SemiSupervisedTrainer:
    """Return a trainer with some keys of a bundle set; a tracked one has as many steps as are broken down."""
    unknown = set(settings) - {*OF_STREAM, *OF_TRAINER, *FREE, *OF_PARTS}
    if unknown:
        msg = f"{', '.join(sorted(unknown))}: say here what that key costs."
        raise ValueError(msg)
    steps = 10**6 if tracker is None else LEFT_OUT + MEASURED + 1
    handlers = () if tracker is None else (tracker, Progress(tracker))
    stream = StepStream(
        volumes.labeled, volumes.unlabeled, window=edges, labeled_windows=4, unlabeled_windows=4, seed=1,
        geometry=Geometry(settings.get("geometry_probability", 0.0)),
        **{name: settings[name] for name in OF_STREAM if name in settings},
    )  # fmt: skip
    torch.manual_seed(0)
    norm, dropout = settings.get("norm", "batch"), settings.get("dropout", 0.5)
    method = BCP(VNet(filters=filters, norm=norm, dropout=dropout))
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = build_optimizer(
        settings.get("optimizer_name", "sgd"), learned, rate=1e-3, momentum=0.9, weight_decay=1e-4
    )
    intensity = IntensityAugmentation(
        settings.get("intensity_probability", 0.0), settings.get("intensity_strength", 1.0)
    )
    return SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=optimizer, stream=stream, steps=steps,
        output_dir=folder, settings={}, handlers=handlers, intensity=intensity, num_workers=num_workers,
        **{name: settings[name] for name in OF_TRAINER if name in settings},
    )  # fmt: skip


def data_seconds(trainer: SemiSupervisedTrainer, first: int, count: int) -> float:
    """CPU seconds of a batch."""
    start = time.process_time()
    for step in range(first, first + count):
        trainer.stream[step]
    return (time.process_time() - start) / count


def step_seconds(trainer: SemiSupervisedTrainer, step: int) -> float:
    """CPU seconds of a step without its data."""
    batch = trainer.stream[step]
    trainer.state.iteration = step + 1
    start = time.process_time()
    trainer._iteration(trainer, batch)
    return time.process_time() - start


def cost(trainer: SemiSupervisedTrainer, number: int, batches: int) -> Cost:
    """CPU seconds of a batch and of a step without its data."""
    return data_seconds(trainer, number * batches, batches), step_seconds(trainer, number)


def window_seconds(edges: Sequence[int], axes: Sequence[int]) -> float:
    """CPU seconds of the inference of one window."""
    network, image = VNet(filters=8).eval(), torch.randn(1, 1, *edges)
    inference = WindowInference(edges, mirror_axes=axes)
    with torch.inference_mode():
        inference(image, network)
        start = time.process_time()
        inference(image, network)
    return time.process_time() - start


def switches(volumes: Volumes, folder: Path, given: argparse.Namespace) -> list[str]:
    """The table of switches, each by the published values in the same moments."""
    base = build(volumes, folder, given.window, {})
    arms = {label(one): build(volumes, folder, given.window, one) for one in SWITCHES}
    pairs: dict[str, list[tuple[Cost, Cost]]] = {arm: [] for arm in arms}
    for number in range(given.steps + 1):
        for arm, trainer in arms.items():
            # Whoever comes first finds other caches, so they take turns.
            both = (base, trainer) if number % 2 else (trainer, base)
            costs = {one: cost(one, number, given.batches) for one in both}
            pairs[arm].append((costs[base], costs[trainer]))
    plain = [one for found in pairs.values() for one, _ in found[1:]]  # the first round warms up
    data, step = (1000 * statistics.median(part) for part in zip(*plain, strict=True))
    lines = ["| switch | data, ms | step, ms | together, by published |", "|---|---|---|---|"]
    lines.append(f"| {PUBLISHED} | {data:.1f} | {step:.0f} | 1.00 |")
    for arm, found in pairs.items():
        data, step = (
            1000 * statistics.median(p) for p in zip(*(x for _, x in found[1:]), strict=True)
        )
        ratio = statistics.median(sum(ours) / sum(theirs) for theirs, ours in found[1:])
        lines.append(f"| {arm} | {data:.1f} | {step:.0f} | {ratio:.2f} |")
    plain_window = window_seconds(given.window, ())
    for axes in ((0, 1), (0, 1, 2)):
        ratio = window_seconds(given.window, axes) / plain_window
        lines += ["", f"`mirror_axes` {list(axes)}: inference takes {ratio:.1f} times as long."]
    return lines


def parts_of_a_step(
    volumes: Volumes,
    folder: Path,
    edges: Sequence[int],
    settings: Mapping[str, Any],
    filters: int = 8,
    num_workers: int = 0,
) -> list[str]:
    """Where the time of a step goes, by the clock, in a tracked training."""
    tracker = Tracker(
        folder, tracking_uri=str(folder / "mlflow.db"), experiment_name="cost",
        run_name="cost", stage="train", parameters={},
    )  # fmt: skip
    trainer = build(volumes, folder, edges, settings, tracker, filters, num_workers)
    return share_table(breakdown(trainer, tracker, cuda=False))


def of_data(given: argparse.Namespace) -> str:
    """The options of the data set, without where it lies."""
    if given.dataset is None:
        return ""
    return f" --dataset {given.dataset.name} --manifest {given.manifest}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, nargs=3, default=[64, 64, 32])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--dataset", type=Path, help="folder of a manifest; noise if absent")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    window = "x".join(map(str, given.window))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = make_volumes(folder, given.window)
        volumes, shown = noise, "volumes of noise"
        if given.dataset is not None:
            volumes = read_volumes(given.dataset, given.manifest, folder)
            shown = f"switches on noise, parts of a step on {given.dataset.name}"
        lines = [
            "# What the recipe costs",
            "",
            f"{datetime.date.today()}, {platform.machine()} CPU, one thread, torch {torch.__version__}; BCP, V-Net"
            f" of 8 filters, windows of {window}, four labeled and four unlabeled ones, {shown};"
            f" written by `python benchmarks/recipe_cost.py --window {' '.join(map(str, given.window))}"
            f" --steps {given.steps} --batches {given.batches}{of_data(given)}`.",
            "",
            f"Each switch alone, in turn with the published values. CPU time, median of {given.steps} rounds; data:"
            f" {given.batches} batches in each round; together: median of the ratios within each round.",
            "",
            *switches(noise, folder, given),
            "",
            "## Where the time of a step goes, as published",
            "",
            *parts_of_a_step(volumes, folder / "published", given.window, {}),
            "",
            "## The same with all switches of `recipe.yaml`",
            "",
            *parts_of_a_step(volumes, folder / "recipe", given.window, recipe),
            "",
            "## The same with all switches, windows cut by a process beside it (`num_workers` 1)",
            "",
            *parts_of_a_step(volumes, folder / "beside", given.window, recipe, num_workers=1),
            "",
            "## The same with all switches, with the 16 filters of the published V-Net",
            "",
            *parts_of_a_step(volumes, folder / "wide", given.window, recipe, filters=16),
        ]
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
