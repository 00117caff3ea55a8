"""The switches of the recipe under every method: they act, replay, and touch no teacher."""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.methods.method import Method
from medsemi.methods.registry import METHODS, MethodEntry
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.training.optimizers import build_optimizer
from medsemi.training.schedules import build_schedule
from medsemi.training.student_views import StudentViews, run_by_methods
from medsemi.training.trainer import SemiSupervisedTrainer

OFTEN = IntensityAugmentation(10.0)
SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
assert_equal, weights = SMALL.assert_equal, SMALL.weights
RECIPE = {"gradient_clip": 1.0, "intensity": OFTEN, "weight_average": 0.9}


class Noise:
    """A stream of random windows that every method divides into its blocks, pure in the step."""

    seed, rank, world_size = 3, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(2, 1, 6, 6, 6, generator=generator)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        other = torch.rand(2, 1, 6, 6, 6, generator=generator)
        return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


class Small(nn.Module):
    """The least network that has an encoder of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU())
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.Conv3d(4, 4, 1), nn.Conv3d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Small()


def method_of(entry: MethodEntry) -> Method:
    module, _, name = entry.target.rpartition(".")
    known = {"classes": 2, "stages": {"decoder.1": 4}, "network_b": network(1)}
    needs = {key: known[key] for key in entry.needs}
    steps = dict.fromkeys(entry.step_shares, 0)
    method: Method = getattr(importlib.import_module(module), name)(network(), **needs, **steps)
    return method


def trained(entry: MethodEntry, folder: Path, handlers: tuple = (), **options: object) -> Path:
    method = method_of(entry)
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = build_optimizer("nesterov", learned, rate=0.01, momentum=0.99, weight_decay=3e-5)
    run = SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=optimizer, stream=Noise(), steps=3,
        output_dir=folder, settings={}, checkpoint_interval=1, handlers=handlers,
        learning_rate=build_schedule("polynomial", rate=0.01, steps=3, warmup_steps=1), **options,
    )  # fmt: skip
    run.run()
    return folder


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_every_method_trains_with_the_recipe_and_continues(
    entry: MethodEntry, tmp_path: Path, stop_at: Callable[[int], object]
) -> None:
    if 3 not in entry.dims:
        pytest.skip("takes slices alone")
    whole = trained(entry, tmp_path / "whole", **RECIPE)
    with pytest.raises(OSError, match="no space left"):
        trained(entry, tmp_path / "parts", (stop_at(2),), **RECIPE)
    parts = trained(entry, tmp_path / "parts", **RECIPE)
    names = {path.name for path in whole.glob("*.pt")} - {"last.pt"}
    learns = any(p.requires_grad for p in method_of(entry).inference_network.parameters())
    assert "model.pt" in names
    assert ("average.pt" in names) == learns
    for name in names:
        assert_equal(weights(whole / name), weights(parts / name))
        assert all(value.isfinite().all() for value in weights(whole / name).values())
    if learns:
        assert_equal(weights(whole / "model.pt"), weights(whole / "average.pt"))
    plain = weights(trained(entry, tmp_path / "plain") / "model.pt")
    assert any(not torch.equal(v, plain[k]) for k, v in weights(whole / "model.pt").items())


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_students_see_other_intensities_and_teachers_do_not(entry: MethodEntry) -> None:
    if 3 not in entry.dims:
        pytest.skip("takes slices alone")
    method, seen = method_of(entry), []
    learners = {n: run_by_methods(one) for n, one in method.networks.items()}
    for name, one in learners.items():
        # Told of what a method gives a network, before the change, and of what it then sees.
        one.register_forward_pre_hook(lambda _, x, name=name: seen.append((name, x[0].detach())))
    views = StudentViews(OFTEN, method.networks)
    for one in learners.values():
        one.register_forward_pre_hook(lambda _, x: seen.append(("then", x[0].detach())))
    batch, generator = Noise()[0], torch.Generator().manual_seed(0)
    views.begin(3, 0, 0)
    method.train()
    method(batch, method.draw(batch, generator), 0).total.backward()
    learns = {
        n for n, one in method.networks.items() if any(p.requires_grad for p in one.parameters())
    }
    changed = set()
    for (name, given), (_, then) in zip(seen[::2], seen[1::2], strict=True):
        if not torch.equal(given, then):
            changed.add(name)
    assert changed
    assert changed <= learns


def learner() -> nn.Module:
    """Says what it sees."""
    one = nn.Identity()
    one.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    return one


def test_two_students_of_a_step_see_different_changes() -> None:
    students = {"student_a": learner(), "student_b": learner()}
    views, x = StudentViews(OFTEN, students), torch.randn(1, 1, 8, 8, 8)
    views.begin(3, 7, 0)
    first, second = (student(x) for student in students.values())
    assert not torch.equal(first, second)


def test_a_step_sees_the_same_again_and_every_pass_something_else() -> None:
    one = learner()
    views, x = StudentViews(OFTEN, {"student": one}), torch.randn(1, 1, 8, 8, 8)
    views.begin(3, 7, 0)
    first, second = one(x), one(x)
    assert not torch.equal(first, second)
    views.begin(3, 7, 0)
    assert torch.equal(one(x), first)
    views.begin(3, 8, 0)
    assert not torch.equal(one(x), first)
    with torch.no_grad():
        assert torch.equal(one(x), x)
    assert torch.equal(one.eval()(x), x)
