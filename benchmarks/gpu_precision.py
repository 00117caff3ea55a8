"""The same training, and the same network, in each precision: do they end alike?

Used by `gpu_speed.py`. Trains on phantoms to the same number of steps, scored on phantoms that were not
trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gpu_turns import possible, seconds, switched
from torch import nn
from training_speed import sgd, store_of

from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.evaluation.evaluate import evaluate_cases
from medsemi.evaluation.protocol import WindowInference, labels_from
from medsemi.methods.bcp import BCP
from medsemi.networks.vnet import VNet
from medsemi.training.checkpoint import load_weights
from medsemi.training.trainer import SemiSupervisedTrainer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Size of the phantoms, windows of them, and filters of the V-Net.
SHAPE, WINDOW, FILTERS = (80, 72, 44), (64, 64, 32), 8
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
