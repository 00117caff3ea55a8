"""CPU time of a step with each switch of the recipe, by that without any.

Usage: python benchmarks/recipe_cost.py [--window 64 64 32] [--steps 5] [--batches 40]

A step trains BCP on noise; its data are cut from volumes in memory-mapped files. Both parts are
measured apart, because geometry is drawn for a third of the windows and so needs many batches.
Switches take turns, and a number is the median of its rounds. Time is that of this process, not of
the clock, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsemi.data.geometry import Geometry
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.bcp import BCP
from medsemi.networks.vnet import VNet
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.training.optimizers import build_optimizer
from medsemi.training.trainer import SemiSupervisedTrainer

SWITCHES: dict[str, dict[str, Any]] = {
    "published values": {},
    "geometry_probability 0.2": {"geometry": Geometry(0.2)},
    "foreground_probability 0.33": {"foreground_probability": 0.33},
    "flip_rule symmetric": {"flip_rule": "symmetric"},
    "intensity_probability 1": {"intensity": IntensityAugmentation(1.0)},
    "intensity_probability 3, strength 2": {"intensity": IntensityAugmentation(3.0, 2.0)},
    "gradient_clip 12": {"gradient_clip": 12.0},
    "weight_average 0.99": {"weight_average": 0.99},
    "deep_supervision 0.5": {"deep_supervision": 0.5},
    "optimizer_name nesterov": {"optimizer": "nesterov"},
    "optimizer_name adamw": {"optimizer": "adamw"},
    "norm instance": {"norm": "instance"},
}
OF_STREAM = ("geometry", "foreground_probability", "flip_rule")


def make_volumes(folder: Path, edges: Sequence[int]) -> list[Volume]:
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
    return volumes


def build(
    volumes: list[Volume], folder: Path, edges: Sequence[int], options: Mapping[str, Any]
) -> SemiSupervisedTrainer:
    """Return a trainer with some switches set."""
    rest = dict(options)
    stream = StepStream(
        volumes, volumes, window=edges, labeled_windows=4, unlabeled_windows=4, seed=1,
        **{name: rest.pop(name) for name in OF_STREAM if name in rest},
    )  # fmt: skip
    torch.manual_seed(0)
    method = BCP(VNet(filters=8, norm=rest.pop("norm", "batch")))
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = build_optimizer(
        rest.pop("optimizer", "sgd"), learned, rate=1e-3, momentum=0.9, weight_decay=1e-4
    )
    return SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=optimizer, stream=stream, steps=10**6,
        output_dir=folder, settings={}, **rest,
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


def window_seconds(edges: Sequence[int], axes: Sequence[int]) -> float:
    """CPU seconds of the inference of one window."""
    network, image = VNet(filters=8).eval(), torch.randn(1, 1, *edges)
    inference = WindowInference(edges, mirror_axes=axes)
    with torch.inference_mode():
        inference(image, network)
        start = time.process_time()
        inference(image, network)
    return time.process_time() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, nargs=3, default=[64, 64, 32])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volumes = make_volumes(folder, given.window)
        arms = {k: build(volumes, folder, given.window, v) for k, v in SWITCHES.items()}
        steps: dict[str, list[float]] = {arm: [] for arm in arms}
        data: dict[str, list[float]] = {arm: [] for arm in arms}
        for number in range(given.steps + 1):
            for arm, trainer in arms.items():
                data[arm].append(data_seconds(trainer, number * given.batches, given.batches))
                steps[arm].append(step_seconds(trainer, number))
    base = next(iter(arms))
    # The first round warms up.
    parts = {a: (statistics.median(data[a][1:]), statistics.median(steps[a][1:])) for a in arms}
    print("| switch | data, ms | step, ms | together, by published |\n|---|---|---|---|")
    for arm, (cutting, training) in parts.items():
        ratio = (cutting + training) / sum(parts[base])
        print(f"| {arm} | {1000 * cutting:.1f} | {1000 * training:.0f} | {ratio:.2f} |")
    plain = window_seconds(given.window, ())
    for axes in ((0, 1), (0, 1, 2)):
        ratio = window_seconds(given.window, axes) / plain
        print(f"\nmirror_axes {list(axes)}: inference takes {ratio:.1f} times as long.")


if __name__ == "__main__":
    main()
