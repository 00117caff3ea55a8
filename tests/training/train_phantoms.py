"""A small training as a process of its own, for tests that kill it or run two of it.

Usage: python train_phantoms.py DATA OUTPUT STEPS WORKERS [SECONDS_PER_STEP]
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import torch
from ignite.engine import Events
from monai.networks.nets import DynUNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from medsemi.data.manifest import load_manifest
from medsemi.data.streams import StepStream
from medsemi.data.volumes import VolumeStore
from medsemi.methods.bcp import BCP
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer


def network() -> DynUNet:
    """Batch norm and dropout: both carry state or randomness that a resume must get right."""
    strides = [1, 2, 2]
    return DynUNet(
        3, 1, 2, kernel_size=[3] * 3, strides=strides, upsample_kernel_size=strides[1:],
        filters=[4, 4, 4], norm_name="batch", dropout=0.5,
    )  # fmt: skip


class Score:
    """Tells a score of every third step, as a validation does."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Follow a training."""
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(every=3),
            lambda: self.tracker.log({"val": 0.5}, engine.state.iteration),
        )


def main(data: Path, output: Path, steps: int, workers: int, pause: float = 0.0) -> None:
    """Train with deep supervision, whose heads are state too; a checkpoint at every second step."""
    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    manifest = load_manifest(data / "manifest.json")
    keys = ["image", "label"]
    transforms = Compose(
        [
            LoadImaged(keys, allow_missing_keys=True),
            EnsureChannelFirstd(keys, allow_missing_keys=True),
        ]
    )
    store = VolumeStore(data, transforms, output.parent / "cache")
    stream = StepStream(
        store.volumes(manifest.labeled, True),
        store.volumes(manifest.unlabeled, False),
        window=(16, 16, 16),
        labeled_windows=2,
        unlabeled_windows=2,
        seed=5,
        rank=rank,
        world_size=world,
    )
    tracker = Tracker(
        output, tracking_uri=str(output.parent / "mlflow.db"), experiment_name="phantoms",
        run_name=output.name, stage="train", parameters={"steps": steps},
    )  # fmt: skip
    torch.manual_seed(7)
    method = BCP(network())
    trainer = SemiSupervisedTrainer(
        device="cpu",
        method=method,
        optimizer=torch.optim.SGD(method.student.parameters(), lr=0.05, momentum=0.9),
        stream=stream,
        steps=steps,
        output_dir=output,
        settings={"steps": steps},
        num_workers=workers,
        checkpoint_interval=2,
        deep_supervision=0.5,
        handlers=[tracker, Score(tracker)] if rank == 0 else [],
    )
    trainer.logger.setLevel(logging.WARNING)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.sleep(pause))
    trainer.run()
    if world > 1:
        torch.save(method.state_dict(), output.with_name(f"rank{rank}.pt"))
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    first, second, *numbers = sys.argv[1:]
    main(Path(first), Path(second), int(numbers[0]), int(numbers[1]), *map(float, numbers[2:]))
