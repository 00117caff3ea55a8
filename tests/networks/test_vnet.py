"""The V-Net equals the published one and exports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.networks.published import load_published
from medsemi.networks.vnet import VNet


def count(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def test_logits_equal_the_published_network(golden: Path) -> None:
    with np.load(golden / "vnet_nf4_eval.npz") as stored:
        state = {
            key.removeprefix("sd/"): torch.from_numpy(stored[key])
            for key in stored.files
            if key.startswith("sd/")
        }
        image = torch.from_numpy(stored["input"]).float()
        expected = torch.from_numpy(stored["logits"])
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    network = VNet(filters=4).eval()
    load_published(network, state)
    with torch.no_grad():
        logits = network(image)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_parameter_counts_are_the_published_ones() -> None:
    assert count(VNet()) == 9_448_866
    assert count(VNet(norm="instance", norm_affine=False)) == 9_443_266


def test_keys_and_shapes_are_the_published_ones(golden: Path) -> None:
    published = json.loads((golden / "state_dict_keys.json").read_text())["vnet_la"]
    heads = tuple(published["unused_key_prefixes"])
    expected = {
        key: tuple(entry["shape"])
        for key, entry in published["keys"].items()
        if not key.startswith(heads)
    }
    assert {key: tuple(value.shape) for key, value in VNet().state_dict().items()} == expected


@pytest.mark.parametrize(("dims", "size"), [(3, (64, 64, 32)), (3, (16, 16, 16)), (2, (48, 32))])
def test_any_multiple_of_sixteen_works(dims: int, size: tuple[int, ...]) -> None:
    network = VNet(spatial_dims=dims, in_channels=2, out_channels=3, filters=2).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 2, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("affine", [True, False])
def test_norm_and_affine_are_what_was_asked_for(norm: str, affine: bool) -> None:
    network = VNet(filters=4, norm=norm, norm_affine=affine)
    kinds = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d, "group": nn.GroupNorm}
    norms = [layer for layer in network.modules() if isinstance(layer, tuple(kinds.values()))]
    assert len(norms) == (0 if norm == "none" else 29)
    assert all(isinstance(layer, kinds[norm]) for layer in norms)
    assert all((layer.weight is not None) == affine for layer in norms)
    assert torch.isfinite(network(torch.randn(1, 1, 32, 32, 32))).all()


def test_dropout_acts_in_train_mode_only_and_drops_whole_channels() -> None:
    layers = [layer for layer in VNet(dropout=0.25).modules() if isinstance(layer, nn.Dropout3d)]
    assert [layer.p for layer in layers] == [0.25, 0.25]
    network = VNet(filters=2, norm="none", dropout=0.5)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = network(image), network(image)
        network.eval()
        assert not torch.equal(first, second)
        assert torch.equal(network(image), network(image))


@pytest.mark.filterwarnings("ignore:`torch.jit.*:DeprecationWarning")
def test_scripted_network_gives_the_same_logits() -> None:
    network = VNet(filters=2).eval()
    image = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_traced_graph_has_no_dynamic_python() -> None:
    """`torch.export` is what the ONNX exporter starts from."""
    network = VNet(filters=2).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    exported = torch.export.export(network, (image,))
    torch.testing.assert_close(exported.module()(image), network(image))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="layer"):
        VNet(norm="layer")
    with pytest.raises(ConfigError, match="filters is 0"):
        VNet(filters=0)
    with pytest.raises(ConfigError, match="dropout is 2"):
        VNet(dropout=2)
    with pytest.raises(ConfigError, match="spatial_dims is 4"):
        VNet(spatial_dims=4)
