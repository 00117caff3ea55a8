"""The 2D U-Net equals the published one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.networks.published import load_published
from medsemi.networks.unet2d import UNet2D


def published_state(golden: Path) -> dict[str, Tensor]:
    with np.load(golden / "unet2d_eval.npz") as stored:
        state = {
            key.removeprefix("sd/"): torch.from_numpy(stored[key])
            for key in stored.files
            if key.startswith("sd/")
        }
        for key in stored.files:
            if key.startswith("q/"):
                name = key.removeprefix("q/")
                values = stored[key].astype(np.float32) * stored[f"scale/{name}"]
                state[name] = torch.from_numpy(values)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def test_logits_equal_the_published_network(golden: Path) -> None:
    with np.load(golden / "unet2d_eval.npz") as stored:
        image = torch.from_numpy(stored["input"]).float()
        expected = torch.from_numpy(stored["logits"])
    network = UNet2D().eval()
    report = load_published(network, published_state(golden))
    assert report.dropped
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)


def test_the_parameter_count_is_the_published_one() -> None:
    assert sum(parameter.numel() for parameter in UNet2D().parameters()) == 1_813_764


def test_keys_and_shapes_are_the_published_ones(golden: Path) -> None:
    published = json.loads((golden / "state_dict_keys.json").read_text())["unet2d_acdc"]
    heads = tuple(published["unused_key_prefixes"])
    expected = {
        key: tuple(entry["shape"])
        for key, entry in published["keys"].items()
        if not key.startswith(heads)
    }
    assert {key: tuple(value.shape) for key, value in UNet2D().state_dict().items()} == expected


@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_any_multiple_of_sixteen_works(size: tuple[int, int]) -> None:
    network = UNet2D(in_channels=2, out_channels=3, filters=2).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 2, *size)).shape == (1, 3, *size)


def test_dropout_has_the_published_rates_and_can_be_switched_off() -> None:
    def rates(network: nn.Module) -> list[float]:
        return [layer.p for layer in network.encoder.modules() if isinstance(layer, nn.Dropout)]

    assert rates(UNet2D()) == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert rates(UNet2D(dropout=0.0)) == [0.0] * 5


def test_instance_norm_keeps_the_windows_of_a_batch_apart() -> None:
    torch.manual_seed(0)
    network = UNet2D(filters=4, dropout=0.0, norm="instance").train()
    windows = torch.randn(2, 1, 32, 32)
    alone = network(windows[:1])
    torch.testing.assert_close(network(windows)[:1], alone)
    batch = UNet2D(filters=4, dropout=0.0).train()
    assert not torch.allclose(batch(windows)[:1], batch(windows[:1]))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ConfigError, match="use one of batch, instance"):
        UNet2D(norm="layer")
