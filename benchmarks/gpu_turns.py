"""Trainings that take turns on one device: milliseconds of a step, its memory, and what waits for the GPU.

Used by `gpu_speed.py`. Batches are noisy balls that lie in page-locked memory, so that nothing but the
device is measured.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from gpu_waits import waits_of
from torch import nn
from training_speed import sgd

from medsemi.batch import Batch, Sub
from medsemi.training.trainer import SemiSupervisedTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

BATCHES = 4


class NoiseStream:
    """A few batches of noisy balls in page-locked memory, over and over; half labeled, half not."""

    seed, rank, world_size = 0, 0, 1

    def __init__(self, window: Sequence[int], count: int, classes: int) -> None:
        """Draw `count` labeled and `count` unlabeled windows of each batch."""
        self.window, self.case_ids = tuple(window), {"labeled": ["a"], "unlabeled": ["b"]}
        self.labeled = [SimpleNamespace(image=torch.zeros(1, *window), label=None)]
        self.batches = [self._batch(n, count, classes) for n in range(BATCHES)]

    def _batch(self, number: int, count: int, classes: int) -> Batch:
        generator = torch.Generator().manual_seed(number)
        axes = [torch.linspace(-1, 1, n) for n in self.window]
        radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
        rings = ((1 - radius) * 1.5 * classes).clamp(0, classes - 1).floor()
        noise = torch.randn(2 * count, 1, *self.window, generator=generator)
        image = rings + 0.3 * noise
        label = rings.expand(count, *self.window).contiguous()
        known = Sub(image[:count], label.to(torch.uint8), ("a",) * count)
        batch = Batch(known, Sub(image[count:], None, ("b",) * count))
        return batch.pin_memory() if torch.cuda.is_available() else batch

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        return self.batches[step % BATCHES]


@dataclass
class Contender:
    """A trainer that takes its steps in blocks, and what was measured of it."""

    trainer: SemiSupervisedTrainer
    switches: Mapping[str, bool]
    first: float = 0.0
    done: int = 0
    memory: float = 0.0
    milliseconds: tuple[float, ...] = ()
    waits: int = 0

    def steps(self, count: int) -> None:
        """Train for `count` steps."""
        for _ in range(count):
            self.trainer.state.iteration = self.done + 1
            self.trainer._iteration(self.trainer, self.trainer.stream[self.done])
            self.done += 1

    def begin(self) -> None:
        """Take the first steps, which compile and choose, and count the waits of one."""
        with switched(self.switches):
            self.first = seconds(lambda: self.steps(1))
            self.steps(3)
            waits = waits_of(lambda: self.steps(1))
            logger.info("waits: %s", dict(waits))
            self.waits = waits.total()

    def round(self, count: int) -> None:
        """Measure a block."""
        with switched(self.switches):
            held = held_bytes()
            spent = seconds(lambda: self.steps(count))
            self.milliseconds = (*self.milliseconds, 1000 * spent / count)
            if torch.cuda.is_available():
                grown = torch.cuda.max_memory_allocated() - held
                self.memory = max(self.memory, grown / 2**20)

    @property
    def typical(self) -> float:
        """Milliseconds of a step."""
        return statistics.median(self.milliseconds)


@contextmanager
def switched(switches: Mapping[str, bool]) -> Iterator[None]:
    """Set torch's switches for a while."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, cudnn.benchmark = switches.get("tf32", True), switches.get("benchmark", False)
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark = before


def seconds(run: Callable[[], None]) -> float:
    """Wall-clock seconds, with what the GPU still has to do."""
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def held_bytes() -> int:
    """Bytes that tensors have now; the peak starts here."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def wait() -> None:
    """Let the GPU finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def contender(
    method: nn.Module,
    stream: NoiseStream,
    folder: Path,
    device: str,
    **settings: Any,  # noqa: ANN401
) -> Contender:
    """A trainer without validation."""
    switches = {name: settings.pop(name) for name in ("tf32", "benchmark") if name in settings}
    trainer = SemiSupervisedTrainer(
        device=device, method=method, optimizer=sgd(method), stream=stream, steps=10**6,
        output_dir=folder, settings={}, checkpoint_interval=10**6, **settings,
    )  # fmt: skip
    return Contender(trainer, switches)


def in_turns(contenders: Mapping[str, Contender], given: argparse.Namespace) -> list[str]:
    """Measure all in alternating blocks; the rows of a table."""
    broken: dict[str, str] = {}
    for name, one in contenders.items():
        if reason := failed(one.begin):
            broken[name] = reason
    for _ in range(given.rounds):
        for name, one in contenders.items():
            if name not in broken:
                one.round(given.steps)
    first = next(one for name, one in contenders.items() if name not in broken)
    lines = [
        "| | ms a step | least, most | by the first | MiB beside the weights | waits | first step, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in contenders.items():
        if name in broken:
            lines.append(f"| {name} | {broken[name]} | | | | | |")
            continue
        low, high = min(one.milliseconds), max(one.milliseconds)
        lines.append(
            f"| {name} | {one.typical:.1f} | {low:.1f}, {high:.1f} | {one.typical / first.typical:.2f}"
            f" | {one.memory:.0f} | {one.waits} | {one.first:.1f} |"
        )
    return lines


def possible(names: Iterable[str], given: argparse.Namespace) -> list[str]:
    """Those that the device has."""
    return [name for name in names if given.device.startswith("cuda") or "fp16" not in name]


def failed(begin: Callable[[], None]) -> str:
    """Why the first steps fail; empty if they do not. What does not fit or compile is a result."""
    try:
        begin()
    except (RuntimeError, torch.OutOfMemoryError) as error:
        logger.exception("not measured")
        return str(error).splitlines()[0][:100]
    return ""


def free() -> None:
    """Give back what contenders held."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
