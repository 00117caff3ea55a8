"""A training of a few convolutions on noise, for tests of the trainer and of what it calls."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.bcp import BCP
from medsemi.training.handlers import Validation
from medsemi.training.trainer import SemiSupervisedTrainer


class Noise:
    """A stream of random windows, pure in the step."""

    seed, rank, world_size = 3, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}
    window: ClassVar = (8, 8, 8)
    labeled: ClassVar = [SimpleNamespace(image=torch.zeros(1, *window), label=torch.ones(window))]

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(2, 1, 8, 8, 8, generator=generator)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        other = torch.rand(2, 1, 8, 8, 8, generator=generator)
        return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


def toy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Dropout3d(0.2))


def trainer(
    folder: Path, steps: int = 6, method: nn.Module | None = None, **options: object
) -> SemiSupervisedTrainer:
    method = method or BCP(toy())
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    options = {"settings": {"steps": steps}, "device": "cpu", "checkpoint_interval": 2, **options}
    return SemiSupervisedTrainer(
        method=method,
        optimizer=optimizer,
        stream=Noise(),
        steps=steps,
        output_dir=folder,
        **options,
    )


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def validation(folder: Path, classes: int = 2, **options: object) -> Validation:
    options = {"volumes": [], "interval": 1, "tracker": None, **options}
    return Validation(
        inference=WindowInference((8, 8, 8)), output_dir=folder,
        classes={value: str(value) for value in range(classes)}, **options,
    )  # fmt: skip
