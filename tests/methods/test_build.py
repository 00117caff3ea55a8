"""Any method is built from its name, a network and the length of the training."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.bcp import CopyPastePretraining
from medsemi.methods.build import (
    another_network,
    build_method,
    build_pretraining,
    described,
    dividing_blocks,
)
from medsemi.methods.registry import METHODS
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.parts.views import FrequencyViews
from medsemi.seeds import derive_generator

NETWORKS = {2: lambda: UNet2D(out_channels=2, filters=4), 3: lambda: VNet(filters=2)}

WINDOWS = {2: (32, 16), 3: (32, 16, 16)}


def batch(axes: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, *WINDOWS[axes])
    image, other = (torch.randn(shape, generator=generator) for _ in range(2))
    label = (image[:, 0] > 0).to(torch.uint8)
    return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_every_method_takes_a_step_on_the_networks_of_the_bundles(entry, axes: int) -> None:
    torch.manual_seed(0)
    method = build_method(
        entry.name, NETWORKS[axes](), steps=100, classes=2, seed=3, window=WINDOWS[axes]
    )
    windows = batch(axes)
    terms = method(windows, method.draw(windows, derive_generator(0)), 50)
    assert torch.isfinite(terms.total)
    assert method.inference_network in set(method.networks.values())


def test_ramps_are_shares_of_the_training_and_options_come_last() -> None:
    method = build_method("mean_teacher", VNet(filters=2), steps=1000, classes=2)
    assert method.rampup_steps == 300
    options = {"rampup_steps": 7, "deploy": "student"}
    method = build_method("mean_teacher", VNet(filters=2), steps=9, classes=2, options=options)
    assert (method.rampup_steps, method.deploy) == (7, "student")


def test_shared_arguments_reach_the_methods_that_take_it() -> None:
    shared = {"dice": "squared", "hole_ratio": 0.5}
    bcp = build_method("bcp", VNet(filters=2), steps=9, classes=2, shared=shared)
    assert bcp.hole_ratio == 0.5
    assert build_method("cfcnet", VNet(filters=2), steps=9, classes=2, shared=shared)


def test_the_second_network_depends_on_the_seed_alone() -> None:
    network = VNet(filters=2)
    before = torch.random.get_rng_state()
    one, again, other = (another_network(network, seed) for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    weight = "encoder.block_one.conv.0.weight"
    weights = [n.state_dict()[weight] for n in (network, one, again, other)]
    assert weights[1].equal(weights[2])
    assert not weights[1].equal(weights[0])
    assert not weights[1].equal(weights[3])


def planned_network() -> nn.Module:
    settings = {"strides": [1, 2, 2, 2], "kernel_size": [3] * 4, "upsample_kernel_size": [2] * 3}
    return DynUNet(3, 1, 2, **settings, filters=[4, 6, 8, 10], norm_name="instance")


@pytest.mark.parametrize("build", [*NETWORKS.values(), planned_network])
def test_the_second_network_is_drawn_as_the_first(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = build()
    pairs = zip(network.parameters(), another_network(network, 1).parameters(), strict=True)
    for one, other in pairs:
        if one.numel() > 400:
            assert other.std().item() == pytest.approx(one.std().item(), rel=0.15)
        assert other.any() == one.any()  # biases that start at 0 do so in both


def test_the_second_planned_network_depends_on_the_seed_alone() -> None:
    network = planned_network()
    before = torch.random.get_rng_state()
    one, again, other = (another_network(network, seed) for seed in (1, 1, 2))
    assert torch.random.get_rng_state().equal(before)
    pairs = zip(*(n.parameters() for n in (one, again, other)), strict=True)
    assert all(a.equal(b) and (a.ndim < 2 or not a.equal(c)) for a, b, c in pairs)


@pytest.mark.parametrize(
    ("build", "axes"), [(NETWORKS[2], 2), (NETWORKS[3], 3), (planned_network, 3)]
)
def test_the_stages_of_urpc_have_the_channels_that_they_give(
    build: Callable[[], nn.Module], axes: int
) -> None:
    network = build()
    method = build_method("urpc", network, steps=10, classes=2)
    assert len(method.stages) >= 2
    seen = {}
    for name in method.stages:
        part = network.get_submodule(name)
        part.register_forward_hook(lambda *a, name=name: seen.update({name: a[2].shape[1]}))
    network(torch.zeros(2, 1, *[16] * axes))
    channels = [head[1].in_channels for head in method.heads]
    assert channels == [seen[name] for name in method.stages]


@pytest.mark.parametrize(
    ("build", "axes"), [(NETWORKS[2], 2), (NETWORKS[3], 3), (planned_network, 3)]
)
def test_unimatch_drops_the_features_of_any_known_network(
    build: Callable[[], nn.Module], axes: int
) -> None:
    method = build_method("unimatch", build(), steps=10, classes=2)
    window, space = torch.rand(2, 1, *[16] * axes), [16] * axes
    label = torch.zeros(2, *space, dtype=torch.uint8)
    batch = Batch(Sub(window, label, ("a", "b")), Sub(window.flip(0), None, ("c", "d")))
    draws = method.draw(batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(method(batch, draws, 0).total)


def test_a_network_of_unknown_stages_asks_for_them() -> None:
    with pytest.raises(ConfigError, match="stages"):
        build_method("urpc", nn.Conv2d(1, 2, 1), steps=10, classes=2)


def test_mistakes_are_one_sentence() -> None:
    network = VNet(filters=2)
    with pytest.raises(ConfigError, match="did you mean fixmatch"):
        build_method("fixmath", network, steps=10, classes=2)
    with pytest.raises(ConfigError, match="did you mean threshold"):
        build_method("fixmatch", network, steps=10, classes=2, options={"treshold": 0.9})
    with pytest.raises(ConfigError, match="starts from no pre-training"):
        build_pretraining("fixmatch", network)


def test_a_pretraining_belongs_to_its_method() -> None:
    method = build_pretraining("bcp", VNet(filters=2), shared={"dice": "squared"})
    assert isinstance(method, CopyPastePretraining)
    names = {entry.name for entry in METHODS if entry.pretraining}
    assert names == {"bcp", "cfcnet", "frequency_copy_paste"}
    for name in names:
        assert build_pretraining(name, VNet(filters=2)).inference_network is not None


def test_class_frequencies_are_known_to_the_method_that_aligns_them() -> None:
    method = build_method(
        "mixmatch", VNet(filters=2), steps=10, classes=2, options={"alignment": 1.0}
    )
    assert method.frequencies.shape == (2, 2)


def test_blocks_divide_the_windows_of_the_bundles() -> None:
    assert dividing_blocks((112, 112, 80)) == (7, 7, 5)
    assert dividing_blocks((64, 64, 32)) == (4, 4, 4)
    assert dividing_blocks((96, 96, 96)) == (6, 6, 6)
    assert dividing_blocks((256, 256)) == (8, 8)


def test_options_are_described_without_addresses() -> None:
    options = {"views": FrequencyViews(), "alpha": (0.1, None)}
    assert described(options) == described(copy.deepcopy(options))
    assert "0x" not in str(described(options))
    assert described(options)["views"]["class"] == "FrequencyViews"
