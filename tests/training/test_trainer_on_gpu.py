"""Trainings on a GPU: precisions, compiled networks, and a training that was stopped."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from medsemi.batch import Batch, Sub
from medsemi.methods.bcp import BCP
from medsemi.networks.vnet import VNet
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.training.checkpoint import load_weights
from medsemi.training.trainer import SemiSupervisedTrainer

pytestmark = pytest.mark.gpu
SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
trainer, weights = SMALL.trainer, SMALL.weights
PRECISIONS = ["none", "bf16", "fp16"]


@pytest.mark.parametrize("amp", PRECISIONS)
def test_a_training_that_was_stopped_continues(
    tmp_path: Path, amp: str, stop_at: Callable[[int], object]
) -> None:
    """Equal up to what two runs on a GPU differ by, whose sums have no fixed order."""
    trainer(tmp_path / "whole", device="cuda", amp=amp).run()
    with pytest.raises(OSError, match="no space left"):
        trainer(tmp_path / "parts", device="cuda", amp=amp, handlers=[stop_at(5)]).run()
    trainer(tmp_path / "parts", device="cuda", amp=amp).run()
    for name in ("student", "teacher", "model"):
        whole, parts = (weights(tmp_path / run / f"{name}.pt") for run in ("whole", "parts"))
        for key, value in whole.items():
            assert value.device.type == "cpu"
            torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=1e-4)


def test_a_continued_training_waits_no_more_than_a_fresh_one(
    tmp_path: Path, stop_at: Callable[[int], object]
) -> None:
    """AdamW counts its steps on the CPU; counters on the GPU would be waited for in each step."""

    def adamw() -> SemiSupervisedTrainer:
        method = BCP(SMALL.toy()[:2])
        trained = [p for p in method.parameters() if p.requires_grad]
        return SemiSupervisedTrainer(
            device="cuda", method=method, optimizer=torch.optim.AdamW(trained, 0.01),
            stream=SMALL.Noise(), steps=6, output_dir=tmp_path, settings={}, checkpoint_interval=2,
            handlers=handlers,
        )  # fmt: skip

    handlers: list[object] = [stop_at(3)]
    with pytest.raises(OSError, match="no space left"):
        adamw().run()
    handlers = []
    continued = adamw()
    continued.run()
    counters = [entry["step"] for entry in continued.optimizer.state.values()]
    assert counters
    assert all(counter.device.type == "cpu" for counter in counters)


@pytest.mark.parametrize("amp", PRECISIONS)
def test_weights_of_a_gpu_are_those_of_the_cpu(tmp_path: Path, amp: str) -> None:
    """Without dropout, whose mask is drawn on the device."""

    def still() -> BCP:
        return BCP(SMALL.toy()[:2])

    trainer(tmp_path / "cpu", method=still()).run()
    trainer(tmp_path / "gpu", method=still(), device="cuda", amp=amp).run()
    here, there = (weights(tmp_path / run / "model.pt") for run in ("cpu", "gpu"))
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=0.05, atol=0.02)


class Windows(SMALL.Noise):
    """Windows that a V-Net can halve four times."""

    window: ClassVar = (32, 32, 32)
    labeled: ClassVar = [SimpleNamespace(image=torch.zeros(1, *window), label=torch.ones(window))]

    def __getitem__(self, step: int) -> Batch:
        image = torch.rand(4, 1, 32, 32, 32, generator=torch.Generator().manual_seed(step))
        label = (image[:2, 0] > 0.5).to(torch.uint8)
        return Batch(Sub(image[:2], label, ("a", "b")), Sub(image[2:], None, ("c", "d")))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_all_switches_together_with_compiled_networks(tmp_path: Path, norm: str) -> None:
    """The exported weights have the names of the network as it was written."""
    method = BCP(VNet(filters=2, norm=norm))
    SemiSupervisedTrainer(
        device="cuda",
        method=method,
        optimizer=torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01),
        stream=Windows(),
        steps=4,
        output_dir=tmp_path,
        settings={},
        amp="bf16",
        compile=True,
        gradient_clip=12.0,
        weight_average=0.99,
        deep_supervision=0.5,
        intensity=IntensityAugmentation(1.0),
    ).run()
    load_weights(VNet(filters=2, norm=norm), tmp_path / "model.pt")


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_formats_train_alike(tmp_path: Path, channels_last: bool) -> None:
    method = BCP(SMALL.toy()[:2])
    trainer(tmp_path / "gpu", method=method, device="cuda", channels_last=channels_last).run()
    trainer(tmp_path / "cpu", method=BCP(SMALL.toy()[:2])).run()
    here, there = (weights(tmp_path / run / "model.pt") for run in ("cpu", "gpu"))
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=0.05, atol=0.02)
