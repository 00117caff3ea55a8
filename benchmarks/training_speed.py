"""Steps per second of the published way of training and of `SemiSupervisedTrainer`, interleaved.

Usage: python benchmarks/training_speed.py [--dataset DIR --manifest JSON] [--device cuda] …

Both train BCP with the same network, windows, batch and threads, in alternating blocks. The plain
loop does what the published scripts do: volumes read from disk at every step, float32, contiguous
memory, components on the CPU, an average of parameters one by one, and a wait for the loss at every
step. The second table divides a step of a whole tracked run into its parts.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from skimage.measure import label as connected
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.data.manifest import Case, Manifest, load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.data.reading import read_volume
from medsemi.data.streams import StepStream
from medsemi.data.volumes import VolumeStore
from medsemi.data.windows import cut_window, draw_window
from medsemi.methods import bcp
from medsemi.methods.bcp import BCP
from medsemi.networks.vnet import VNet
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.training.handlers import Progress
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer

# Steps of the whole run before those that are measured, and how many are measured.
LEFT_OUT, MEASURED = 10, 30
CHECKPOINT_INTERVAL = 100


class PlainLoop:
    """The published loop, written plainly."""

    def __init__(
        self, method: BCP, manifest: Manifest, folder: Path, given: argparse.Namespace
    ) -> None:
        """Keep contiguous float32 networks on the device."""
        self.method = method.to(given.device)
        self.optimizer = sgd(method)
        self.cases = (manifest.labeled, manifest.unlabeled)
        self.folder, self.window, self.device = folder, given.window, given.device
        self.random = np.random.default_rng(0)
        method.pseudo_labels = self.pseudo_labels  # type: ignore[method-assign]

    def read(self, cases: tuple[Case, ...], count: int, labeled: bool) -> Sub:
        """Read, turn, mirror and crop whole volumes, as a worker of the published loader does."""
        chosen = self.random.permutation(len(cases))[:count]
        images, labels = [], []
        for case in (cases[i] for i in chosen):
            volume = read_volume(self.folder / case.image)[0].astype(np.float32)
            draw = draw_window(volume.shape, self.window, "published", self.random)
            images.append(torch.from_numpy(cut_window(volume, draw, self.window)[None]))
            if labeled and case.label is not None:
                label = read_volume(self.folder / case.label)[0].astype(np.uint8)
                labels.append(torch.from_numpy(cut_window(label, draw, self.window)))
        stacked = torch.stack(labels) if labels else None
        return Sub(torch.stack(images), stacked, ())

    @torch.no_grad()
    def pseudo_labels(self, *unlabeled: Tensor) -> Callable[[], Tensor]:
        """Threshold and largest component, by way of lists on the CPU."""
        masks = []
        for half in unlabeled:
            mask = (self.method.teacher(half).softmax(1)[:, 1] >= 0.5).cpu().numpy()
            kept = []
            for one in mask:
                parts = connected(one)
                sizes = np.bincount(parts.flat)[1:]
                kept.append(parts == sizes.argmax() + 1 if len(sizes) else one)
            masks.append(torch.Tensor(np.array(kept).tolist()).to(torch.uint8))
        return lambda: torch.cat(masks).to(self.device)

    def steps(self, count: int) -> None:
        """Train for `count` steps."""
        for step in range(count):
            batch = Batch(self.read(self.cases[0], 4, True), self.read(self.cases[1], 4, False))
            batch = batch.to(torch.device(self.device))
            self.method.train()
            draws = self.method.draw(batch, torch.Generator().manual_seed(step))
            loss = self.method(batch, draws, step).total
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            for mine, other in zip(
                self.method.teacher.parameters(), self.method.student.parameters(), strict=True
            ):
                mine.data.mul_(0.99).add_(other.data, alpha=0.01)
            loss.item()


@dataclass
class Clock:
    """Adds up seconds by part; on a GPU it waits at the edges of each part."""

    cuda: bool
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        self.wait()
        start = time.perf_counter()
        yield
        self.wait()
        self.seconds[name] += time.perf_counter() - start

    def wait(self) -> None:
        """Let the GPU finish."""
        if self.cuda:
            torch.cuda.synchronize()

    def around(self, owner: object, attribute: str, name: str) -> None:
        """Time every call of a function that is an attribute of something."""
        inner = getattr(owner, attribute)

        def timed(*values: object, **named: object) -> object:
            with self.part(name):
                return inner(*values, **named)

        setattr(owner, attribute, timed)


def sgd(method: nn.Module) -> torch.optim.SGD:
    """The published optimizer."""
    trainable = [p for p in method.parameters() if p.requires_grad]
    return torch.optim.SGD(trainable, lr=0.01, momentum=0.9, weight_decay=1e-4)


def trainer_of(  # noqa: ANN201
    given: argparse.Namespace,
    stream: StepStream,
    folder: Path,
    steps: int,
    tracker: Tracker | None = None,
):
    """The trainer as a bundle builds it, without validation."""
    method = network_and_method(given)
    trainer = SemiSupervisedTrainer(
        device=given.device, method=method, optimizer=sgd(method), stream=stream, steps=steps,
        output_dir=folder, settings={}, amp=given.amp, channels_last=given.channels_last,
        compile=given.compile, checkpoint_interval=CHECKPOINT_INTERVAL,
        handlers=() if tracker is None else (tracker, Progress(tracker)),
    )  # fmt: skip
    trainer.logger.setLevel(logging.ERROR)
    return trainer


def network_and_method(given: argparse.Namespace) -> BCP:
    """The same start for both."""
    torch.manual_seed(0)
    return BCP(VNet(filters=given.filters))


class Stepwise:
    """The trainer's step, a few at a time."""

    def __init__(self, trainer: SemiSupervisedTrainer, stream: StepStream) -> None:
        """Remember the engine; data come as in a run without workers."""
        self.trainer, self.stream, self.done = trainer, stream, 0

    def steps(self, count: int) -> None:
        """Train for `count` steps."""
        for _ in range(count):
            self.trainer.state.iteration = self.done + 1
            self.trainer._iteration(self.trainer, self.stream[self.done])
            self.done += 1


def breakdown(trainer: SemiSupervisedTrainer, tracker: Tracker, cuda: bool) -> dict[str, float]:
    """Return the share of each part in a step of a whole, tracked run: loader, engine, handlers.

    The first steps are left out: MLflow is imported beside them.
    """
    clock, method = Clock(cuda), trainer.method
    clock.around(method.teacher, "forward", "teacher forward")
    clock.around(method.student, "forward", "student forward")
    clock.around(trainer.loss_scaler, "step", "optimizer")
    clock.around(trainer.stream, "_sub", "data")
    clock.around(tracker, "flush", "tracking")
    clock.around(bcp, "update_teacher", "teacher update")
    clock.around(bcp, "region_losses", "losses")
    clock.around(Tensor, "backward", "backward")
    clock.around(nn.utils, "clip_grad_norm_", "clipping")
    clock.around(IntensityAugmentation, "apply", "intensities")
    if trainer.average is not None:
        clock.around(trainer.average, "follow", "average of weights")
    start = bcp.start_component_filter

    def filtering(*values: object) -> Callable[[], Tensor]:
        finish = start(*values)

        def timed() -> Tensor:
            with clock.part("components"):
                return finish()

        return timed

    bcp.start_component_filter = filtering
    edges: list[float] = []
    seconds: dict[str, float] = {}

    def edge() -> None:
        clock.wait()
        edges.append(time.perf_counter())
        seconds.clear()  # of the steps that are left out
        seconds.update(clock.seconds)
        clock.seconds.clear()

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=LEFT_OUT), edge)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=trainer.steps - 1), edge)
    trainer.run()
    total = edges[1] - edges[0]
    shares = {name: spent / total for name, spent in seconds.items()}
    return shares | {"other": 1 - sum(shares.values())}


def checkpoint_share(trainer: SemiSupervisedTrainer, step_seconds: float) -> float:
    """Share of writing a checkpoint every 100 steps."""
    start = time.perf_counter()
    trainer._save(trainer)
    return (time.perf_counter() - start) / (CHECKPOINT_INTERVAL * step_seconds)


def timed(run: Callable[[int], None], count: int, cuda: bool) -> float:
    """Seconds per step."""
    clock = Clock(cuda)
    with clock.part("all"):
        run(count)
    return clock.seconds["all"] / count


def store_of(dataset: Path, folder: Path) -> VolumeStore:
    """The volumes of a data set as they are."""
    keys = ["image", "label"]
    loading = [LoadImaged(keys, allow_missing_keys=True)]
    prepare = Compose([*loading, EnsureChannelFirstd(keys, allow_missing_keys=True)])
    return VolumeStore(dataset, prepare, folder / "cache")


def measure(given: argparse.Namespace, folder: Path) -> str:
    """Measure both and return the report as Markdown."""
    if given.dataset is None:
        make_phantoms(folder / "data", count=20, shape=(80, 72, 44))
        given.dataset, given.manifest = folder / "data", folder / "data" / "manifest.json"
    manifest, store = load_manifest(given.manifest), store_of(given.dataset, folder)
    stream = StepStream(
        store.volumes(manifest.labeled, True), store.volumes(manifest.unlabeled, False),
        window=given.window, labeled_windows=4, unlabeled_windows=4, seed=0,
    )  # fmt: skip
    cuda = given.device.startswith("cuda")
    plain = PlainLoop(network_and_method(given), manifest, given.dataset, given)
    ours = Stepwise(trainer_of(given, stream, folder / "run", 10**6), stream)
    plain.steps(1), ours.steps(1)
    pairs = []
    for _ in range(given.blocks):
        slow = timed(plain.steps, given.steps, cuda)
        pairs.append((slow, timed(ours.steps, given.steps, cuda)))
    tracker = Tracker(
        folder / "whole", tracking_uri=str(folder / "mlflow.db"), experiment_name="speed",
        run_name="speed", stage="train", parameters={},
    )  # fmt: skip
    whole = trainer_of(given, stream, folder / "whole", LEFT_OUT + MEASURED + 1, tracker)
    shares = breakdown(whole, tracker, cuda)
    shares["checkpoint"] = checkpoint_share(whole, statistics.median(fast for _, fast in pairs))
    return report(given, pairs, shares, cuda)


def report(
    given: argparse.Namespace,
    pairs: list[tuple[float, float]],
    shares: dict[str, float],
    cuda: bool,
) -> str:
    """Put the numbers into two tables."""
    slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
    memory = memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU"
    lines = [
        "# Training speed",
        "",
        f"{datetime.date.today()}, {device}, {torch.get_num_threads()} thread(s), load average"
        f" {os.getloadavg()[0]:.1f}, {given.data}, torch"
        f" {torch.__version__}; window {given.window}, {given.filters} filters, 4 + 4 windows, amp"
        f" {given.amp}; {given.blocks} blocks of {given.steps} steps, alternating; written by"
        f" `{given.command}`.",
        "",
        "| | steps/s |",
        "|---|---|",
        f"| plain loop | {1 / slow:.3f} |",
        f"| `SemiSupervisedTrainer` | {1 / fast:.3f} |",
        f"| ratio, median of blocks (least, most) | {statistics.median(ratios):.2f}"
        f" ({ratios[0]:.2f}, {ratios[-1]:.2f}) |",
        "",
        f"Peak memory of the process that ran both: {memory:.0f} MiB.",
        "",
        *share_table(shares),
    ]
    return "\n".join(lines) + "\n"


def share_table(shares: Mapping[str, float]) -> list[str]:
    """The parts of a step, the longest first, and what is not the network's."""
    main = ("teacher forward", "student forward", "losses", "backward", "optimizer")
    rest = sum(share for name, share in shares.items() if name not in main)
    longest_first = sorted(shares.items(), key=lambda item: -item[1])
    return [
        "| part of a step | share |",
        "|---|---|",
        *(f"| {name} | {100 * share:.1f} % |" for name, share in longest_first),
        "",
        f"Beside forward, losses, backward and optimizer: {100 * rest:.1f} %.",
    ]


def command_line(arguments: list[str]) -> str:
    """The command as it was given; folders outside the checkout by their last name."""
    shown = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    return " ".join(["python benchmarks/training_speed.py", *shown])


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dataset", type=Path, help="folder of a manifest; phantoms if absent")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--window", type=int, nargs=3, default=(64, 64, 32))
    parser.add_argument("--filters", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of a block")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", default="none", choices=("none", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args(arguments)
    given.window = tuple(given.window)
    given.data = given.dataset.name if given.dataset else "phantoms"
    given.command = command_line(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        text = measure(given, Path(folder))
    sys.stdout.write(text)
    given.output.write_text(text)


if __name__ == "__main__":
    main()
