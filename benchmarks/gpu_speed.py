"""What a GPU does with a training: precisions, memory formats, compilation, methods, equality.

Usage: python benchmarks/gpu_speed.py [--parts settings,methods,precision,compiled] [--filters 16]
    [--window 112 112 80] [--rounds 3] [--steps 10] [--device cuda] [--output benchmarks/gpu_speed.md]

Settings and methods train on noisy balls that lie in page-locked memory, so that nothing but the
GPU is measured; all that are compared take turns, a number is the median of the rounds. A wait is a call
that torch reports to wait for the GPU, counted in one step. `precision` trains on phantoms to the same
number of steps, scored on phantoms that were not trained on.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from training_speed import sgd, store_of

from medsemi.batch import Batch, Sub
from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.evaluation.evaluate import evaluate_cases
from medsemi.evaluation.protocol import WindowInference, labels_from
from medsemi.methods.bcp import BCP
from medsemi.methods.build import build_method
from medsemi.methods.registry import METHODS
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.training.checkpoint import load_weights
from medsemi.training.trainer import SemiSupervisedTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

# Name -> arguments of the trainer. `tf32` and `benchmark` are torch's own switches.
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"amp": "none", "tf32": False},
    "TF32 (torch's default)": {"amp": "none"},
    "bf16": {"amp": "bf16", "channels_last": False},
    "bf16, channels last": {"amp": "bf16", "channels_last": True},
    "fp16": {"amp": "fp16", "channels_last": False},
    "fp16, channels last": {"amp": "fp16", "channels_last": True},
    "bf16, convolutions tried out": {"amp": "bf16", "channels_last": False, "benchmark": True},
    "bf16, channels last, tried out": {"amp": "bf16", "channels_last": True, "benchmark": True},
}
COMPILED: dict[str, dict[str, Any]] = {
    "bf16": {"amp": "bf16", "channels_last": False},
    "bf16, compiled": {"amp": "bf16", "channels_last": False, "compile": True},
}
BATCHES = 4
# Part `precision`: size of its phantoms, windows of them, and filters of the V-Net.
SHAPE, WINDOW, FILTERS = (80, 72, 44), (64, 64, 32), 8


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
            self.waits = sum(waits_of(lambda: self.steps(1)).values())

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


def waits_of(run: Callable[[], None]) -> Counter[str]:
    """Lines that wait for the GPU, and how often each does."""
    if not torch.cuda.is_available():
        run()
        return Counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    lines = [one for one in told if "called a synchronizing" in str(one.message)]
    for line in lines:
        logger.info("waits: %s:%s", line.filename, line.lineno)
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in lines)


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


def network_of(given: argparse.Namespace, dims: int, norm: str = "batch") -> nn.Module:
    """The published networks, from the same start."""
    torch.manual_seed(0)
    return VNet(filters=given.filters, norm=norm) if dims == 3 else UNet2D(out_channels=4)


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


@dataclass(frozen=True)
class Workload:
    """What a step trains.

    Attributes:
        title: in the table.
        dims: axes of a window.
        count: labeled windows of a step, and as many unlabeled ones.
        norm: of the V-Net.
    """

    title: str
    dims: int
    count: int
    norm: str = "batch"


LEFT_ATRIUM = Workload("left atrium, V-Net with batch norm", 3, 4)
INSTANCE = Workload("left atrium, V-Net with instance norm", 3, 4, "instance")
HEART = Workload("heart, U-Net", 2, 12)


def settings_tables(given: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """Precisions and formats under BCP."""
    yield bcp_table(LEFT_ATRIUM, SETTINGS, given, folder)
    yield bcp_table(HEART, SETTINGS, given, folder)
    yield bcp_table(INSTANCE, dict(list(SETTINGS.items())[1:6]), given, folder)


def compiled_tables(given: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """Compiled networks under BCP; their first step takes minutes."""
    yield bcp_table(LEFT_ATRIUM, COMPILED, given, folder)
    yield bcp_table(HEART, COMPILED, given, folder)


def bcp_table(
    work: Workload,
    settings: Mapping[str, Mapping[str, Any]],
    given: argparse.Namespace,
    folder: Path,
) -> list[str]:
    """BCP in each setting; fp16 needs a GPU."""
    window = given.window if work.dims == 3 else given.slice
    stream = NoiseStream(window, work.count, 2 if work.dims == 3 else 4)
    dice = "linear" if work.dims == 3 else "squared"
    contenders = {
        name: contender(
            BCP(network_of(given, work.dims, work.norm), dice=dice), stream, folder, given.device,
            **settings[name],
        )
        for name in possible(settings, given)
    }  # fmt: skip
    size = " x ".join(map(str, window))
    head = ["", f"## BCP, {work.title}", "", f"{work.count} + {work.count} windows of {size}.", ""]
    return [*head, *in_turns(contenders, given)]


def possible(names: Iterable[str], given: argparse.Namespace) -> list[str]:
    """Those that the device has."""
    return [name for name in names if given.device.startswith("cuda") or "fp16" not in name]


def methods_table(given: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """Every method with default settings, in the precision that bundles take on a GPU."""
    stream = NoiseStream(given.window, 2, 2)
    contenders = {}
    for entry in METHODS:
        method = build_method(
            entry.name, network_of(given, 3), steps=1000, classes=2, window=given.window
        )
        contenders[entry.name] = contender(method, stream, folder, given.device, amp="bf16")
    size = " x ".join(map(str, given.window))
    told = f"2 + 2 windows of {size}, V-Net of {given.filters} filters."
    yield ["", "## Methods, bf16", "", told, "", *in_turns(contenders, given)]


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


RUNS: dict[str, dict[str, Any]] = {
    "float32": {"amp": "none", "tf32": False},
    "float32 again": {"amp": "none", "tf32": False},
    "TF32": {"amp": "none"},
    "bf16": {"amp": "bf16"},
    "bf16 again": {"amp": "bf16"},
    "fp16": {"amp": "fp16"},
}


@dataclass(frozen=True)
class Phantoms:
    """What trainings of part `precision` learn from and are scored on."""

    stream: StepStream
    validation: Sequence[Volume]
    classes: Mapping[int, str]


def phantoms(folder: Path) -> Phantoms:
    """Write phantoms."""
    make_phantoms(folder / "data", count=20, shape=SHAPE)
    manifest = load_manifest(folder / "data" / "manifest.json")
    store = store_of(folder / "data", folder)
    stream = StepStream(
        store.volumes(manifest.labeled, True), store.volumes(manifest.unlabeled, False),
        window=WINDOW, labeled_windows=4, unlabeled_windows=4, seed=0,
    )  # fmt: skip
    return Phantoms(stream, store.volumes(manifest.validation, True), manifest.classes)


def trained(
    data: Phantoms, settings: Mapping[str, Any], given: argparse.Namespace, output: Path
) -> tuple[VNet, float]:
    """BCP without dropout, whose masks no two devices share; the network, and seconds."""
    torch.manual_seed(0)
    method = BCP(VNet(filters=FILTERS, dropout=0.0), teacher_mode="eval", ema_buffers="average")
    trainer = SemiSupervisedTrainer(
        device=given.device, method=method, optimizer=sgd(method), stream=data.stream,
        steps=given.train_steps, output_dir=output, settings={}, amp=settings["amp"],
    )  # fmt: skip
    with switched({key: value for key, value in settings.items() if key != "amp"}):
        spent = seconds(trainer.run)
    network = VNet(filters=FILTERS, dropout=0.0)
    load_weights(network, output / "model.pt")
    return network.eval(), spent


def precision_tables(given: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """BCP on phantoms in each precision, from one start, with the same windows and boxes."""
    data, rows = phantoms(folder), []
    networks: dict[str, VNet] = {}
    for name in possible(RUNS, given):
        network, spent = trained(data, RUNS[name], given, folder / name)
        networks[name] = network
        found = evaluate_cases(
            {"model": network}, data.validation, WindowInference(WINDOW), data.classes,
            folder / name, given.device,
        )  # fmt: skip
        network.to("cpu")
        first, values = (weights_of(networks[key]) for key in (next(iter(networks)), name))
        far = float((values - first).norm() / first.norm())
        dice = found["model"].overall.metrics["dice"].mean
        rows.append(f"| {name} | {dice:.3f} | {far:.1e} | {spent:.0f} |")
    yield [
        "", "## The same training in each precision", "",
        f"BCP without dropout on phantoms, {given.train_steps} steps, V-Net of {FILTERS} filters; Dice of"
        f" {len(data.validation)} phantoms.", "",
        "| | Dice | weights differ from the first by | s |", "|---|---|---|---|", *rows,
    ]  # fmt: skip
    yield inference_table(data, networks[next(iter(networks))], given)


def inference_table(data: Phantoms, network: VNet, given: argparse.Namespace) -> list[str]:
    """The labels of one network in each precision, against those of the CPU."""
    expected = labels_in(network, data, "cpu", None, tf32=False)
    lines = []
    for name, dtype, tf32 in (
        ("float32", None, False), ("TF32", None, True), ("bf16", torch.bfloat16, True),
        ("fp16", torch.float16, True),
    ):  # fmt: skip
        found = labels_in(network, data, given.device, dtype, tf32=tf32)
        equal = float((found == expected).double().mean())
        lines.append(f"| {name} | {100 * equal:.4f} % |")
    return [
        "", "## The same network in each precision", "",
        "| inference | voxels with the label of the CPU |", "|---|---|", *lines,
    ]  # fmt: skip


def labels_in(
    network: VNet, data: Phantoms, device: str, dtype: torch.dtype | None, *, tf32: bool
) -> torch.Tensor:
    """Labels of all validation phantoms, in one row."""
    inference, network = WindowInference(WINDOW), network.to(device)
    found = []
    with torch.inference_mode(), switched({"tf32": tf32}):
        for volume in data.validation:
            image = torch.from_numpy(volume.image[None].copy()).to(device)
            with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
                found.append(labels_from(inference(image, network)).flatten().cpu())
    return torch.cat(found)


def weights_of(network: nn.Module) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


PARTS = {
    "settings": settings_tables,
    "methods": methods_table,
    "precision": precision_tables,
    "compiled": compiled_tables,
}


def command_line(arguments: Sequence[str]) -> str:
    """The command as it was given; the file that it writes is left out."""
    kept = [word for word in arguments if not word.endswith(".md") and word != "--output"]
    return " ".join(["python benchmarks/gpu_speed.py", *kept])


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="by comma")
    parser.add_argument("--window", type=int, nargs=3, default=(112, 112, 80))
    parser.add_argument("--slice", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="of a block")
    parser.add_argument("--train-steps", type=int, default=300, help="of part `precision`")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [
        "# Training on a GPU", "",
        f"{datetime.date.today()}, {name}, torch {torch.__version__}, cuDNN"
        f" {torch.backends.cudnn.version()}; {given.rounds} rounds of {given.steps} steps in turns;"
        f" written by `{command_line(sys.argv[1:] if arguments is None else arguments)}`.",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for table in (
            table for part in given.parts.split(",") for table in PARTS[part](given, Path(folder))
        ):
            lines += table
            # A machine may be taken away at any time.
            given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
            free()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
