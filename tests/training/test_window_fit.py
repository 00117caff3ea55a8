"""Windows, labels and classes that do not fit a network are named before or at the first step."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.supervised import Supervised
from medsemi.networks.vnet import VNet
from medsemi.training.window_fit import told_classes

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
Noise, toy, trainer, validation, weights, assert_equal = (
    SMALL.Noise,
    SMALL.toy,
    SMALL.trainer,
    SMALL.validation,
    SMALL.weights,
    SMALL.assert_equal,
)


def test_a_window_that_does_not_fit_the_network_is_named(tmp_path: Path) -> None:
    method = Supervised(VNet(filters=2))
    with pytest.raises(ConfigError, match=r"window \[8, 8, 8\] .* network student, VNet .* of 16"):
        trainer(tmp_path, method=method).run()


class Small(Noise):
    """Windows of which the deepest stage of a V-Net has one voxel."""

    window: ClassVar = (16, 16, 16)
    labeled: ClassVar = [SimpleNamespace(image=torch.zeros(1, *window), label=torch.ones(window))]

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, step: int) -> Batch:
        image = torch.rand(self.count, 1, 16, 16, 16)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        ids = ("a", "b")[: self.count]
        return Batch(Sub(image, label, ids), Sub(image, None, ids))


@pytest.mark.parametrize(("norm", "count"), [("instance", 2), ("batch", 1)])
def test_a_window_that_leaves_a_norm_one_voxel_is_named(
    tmp_path: Path, norm: str, count: int
) -> None:
    started = trainer(tmp_path, method=Supervised(VNet(filters=2, norm=norm)))
    started.stream = Small(count)
    with pytest.raises(ConfigError, match=r"window \[16, 16, 16\] leaves the norm .* one voxel"):
        started.run()


def test_a_window_of_one_deep_voxel_is_enough_for_batch_norm_of_two(tmp_path: Path) -> None:
    started = trainer(tmp_path, steps=1, method=Supervised(VNet(filters=2)))
    started.stream = Small(2)
    started.run()


def test_an_error_of_another_value_stays_as_it_is(tmp_path: Path) -> None:
    class Broken(Supervised):
        def draw(self, batch: Batch, generator: torch.Generator) -> None:
            raise ValueError("broken")

    with pytest.raises(ValueError, match=r"^broken$"):
        trainer(tmp_path, method=Broken(toy())).run()


class ThreeClasses(Noise):
    """Labels with a value that a network with two outputs cannot tell."""

    labeled: ClassVar = [
        SimpleNamespace(image=torch.zeros(1, 8, 8, 8), label=torch.full((8, 8, 8), 2))
    ]

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        label = batch.labeled.label * 2
        return Batch(Sub(batch.labeled.image, label, ("a", "b")), batch.unlabeled)


def test_labels_that_the_network_cannot_tell_are_named(tmp_path: Path) -> None:
    started = trainer(tmp_path, method=Supervised(toy()))
    started.stream = ThreeClasses()
    with pytest.raises(ConfigError, match=r"student tells 2 classes.* the value 2; set its out_ch"):
        started.run()


@pytest.mark.parametrize(("classes", "outputs"), [(3, 2), (1, 2)])
def test_networks_of_other_classes_are_refused_before_the_first_step(
    tmp_path: Path, classes: int, outputs: int
) -> None:
    started = trainer(tmp_path, handlers=[validation(tmp_path, classes)])
    words = (
        f"tells {outputs} classes and the manifest {classes}, .* set its out_channels to {classes}"
    )
    with pytest.raises(ConfigError, match=words):
        started.run()
    assert started.state.iteration == 0


def test_asking_for_the_classes_changes_no_bit(tmp_path: Path) -> None:
    trainer(tmp_path / "a").run()
    trainer(tmp_path / "b", handlers=[validation(tmp_path, 2)]).run()
    for name in ("student", "teacher"):
        assert_equal(*(weights(tmp_path / run / f"{name}.pt") for run in "ab"))
    network = toy().train()
    network[1].eval()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert told_classes(network, (1, 8, 8, 8), torch.device("cpu")) == 2
    assert [part.training for part in network] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal(network.state_dict(), before)


def test_an_error_that_is_not_the_window_stays_as_it_is(tmp_path: Path) -> None:
    class Broken(Supervised):
        def draw(self, batch: Batch, generator: torch.Generator) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match=r"^broken$"):
        trainer(tmp_path, method=Broken(toy())).run()
