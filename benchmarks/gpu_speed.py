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
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gpu_precision import precision_tables
from gpu_turns import NoiseStream, contender, free, in_turns, possible
from torch import nn

from medsemi.methods.bcp import BCP
from medsemi.methods.build import build_method
from medsemi.methods.registry import METHODS
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def network_of(given: argparse.Namespace, dims: int, norm: str = "batch") -> nn.Module:
    """The published networks, from the same start."""
    torch.manual_seed(0)
    return VNet(filters=given.filters, norm=norm) if dims == 3 else UNet2D(out_channels=4)


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
