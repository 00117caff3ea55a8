"""Published checkpoints load by name, and nothing is dropped in silence."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medsemi.errors import CheckpointError
from medsemi.networks.published import load_published
from medsemi.networks.vnet import VNet


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Weights as a published checkpoint would name them."""
    torch.manual_seed(7)
    return VNet(filters=2).state_dict()


def assert_loaded(network: VNet, state: dict[str, Tensor]) -> None:
    """Every entry of the network has the value in `state`."""
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("container", ["bare", "net", "net_opt", "net_opt_epoch"])
def test_every_published_container_loads(
    tmp_path: Path, state: dict[str, Tensor], container: str, prefix: str
) -> None:
    weights = {prefix + key: value for key, value in state.items()}
    content: dict[str, Any] = {
        "bare": weights,
        "net": {"net": weights},
        "net_opt": {"net": weights, "opt": {"state": {}, "param_groups": []}},
        "net_opt_epoch": {"net": weights, "opt": {"state": {}}, "epoch": 3},
    }[container]
    torch.save(content, tmp_path / "published.pth")
    network = VNet(filters=2)
    report = load_published(network, tmp_path / "published.pth")
    assert_loaded(network, state)
    assert (set(report.loaded), report.dropped, report.renamed) == (set(state), (), {})


def test_unused_heads_are_dropped_and_reported(
    golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = json.loads((golden / "state_dict_keys.json").read_text())["vnet_la"]
    types = {"float32": torch.float32, "int64": torch.int64}
    state = {
        key: torch.ones(entry["shape"], dtype=types[entry["dtype"]])
        for key, entry in published["keys"].items()
    }
    network = VNet()
    with caplog.at_level(logging.INFO):
        report = load_published(network, state)
    heads = tuple(published["unused_key_prefixes"])
    assert report.dropped == tuple(key for key in state if key.startswith(heads))
    assert sum(state[key].numel() for key in report.dropped if "running" not in key) > 8_000
    assert "projection_head" in caplog.text
    assert_loaded(network, state)


def test_pancreas_names_are_mapped(golden: Path) -> None:
    published = json.loads((golden / "state_dict_keys.json").read_text())["vnet_pancreas"]
    generator = torch.Generator().manual_seed(0)
    state = {
        f"module.{key}": torch.randn(entry["shape"], generator=generator)
        for key, entry in published["keys"].items()
    }
    network = VNet(norm="instance", norm_affine=False, dropout=0.0)
    report = load_published(network, {"net": state})
    assert len(report.renamed) == 60
    filled = network.state_dict()
    for ours, theirs in {
        "encoder.block_five.conv.6.weight": "block_five.conv.6.weight",
        "decoder.block_five_up.conv.0.bias": "block_five_up.conv.0.bias",
        "decoder.block_nine.conv.0.weight": "branchs.0.0.conv.0.weight",
        "decoder.out_conv.bias": "branchs.0.1.bias",
    }.items():
        assert torch.equal(filled[ours], state[f"module.{theirs}"])


def test_unknown_missing_and_misshapen_keys_are_listed(state: dict[str, Tensor]) -> None:
    network = VNet(filters=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    broken = dict(state)
    broken["decoder.extra.weight"] = torch.zeros(1)
    del broken["encoder.block_one.conv.0.bias"]
    broken["decoder.out_conv.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as caught:
        load_published(network, broken)
    message = str(caught.value)
    assert "unknown keys: decoder.extra.weight" in message
    assert "missing keys: encoder.block_one.conv.0.bias" in message
    assert "other shapes: decoder.out_conv.bias" in message
    assert_loaded(network, before)


def test_long_lists_of_keys_are_cut(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"missing keys: .* and \d+ more"):
        load_published(VNet(filters=2), {"decoder.out_conv.bias": state["decoder.out_conv.bias"]})


def test_a_selector_that_is_not_known_is_an_error(state: dict[str, Tensor]) -> None:
    state["contrastive_class_selector_9.0.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"unknown keys: contrastive_class_selector_9\.0"):
        load_published(VNet(filters=2), state)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth does not exist"):
        load_published(VNet(filters=2), tmp_path / "absent.pth")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04 cut off", b"hello, a page of text", b"\x80\x020."],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.pth cannot be read"):
        load_published(VNet(filters=2), tmp_path / "broken.pth")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_published(VNet(filters=2), tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "cut.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"cut\.pth cannot be read"):
        load_published(VNet(filters=2), path)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch.save(VNet(filters=2), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match="weights only"):
        load_published(VNet(filters=2), tmp_path / "module.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "a list instead of a state dict"),
        ({}, "holds nothing"),
        ({"model": {"a": 1}}, r"no weights \(model\)"),
        ({"net": {}, "other": 1}, r"no weights \(net, other\)"),
        ({"net": {0: torch.zeros(1)}}, r"no weights \(0\)"),
    ],
)
def test_content_that_is_no_state_dict_is_named(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=words):
        load_published(VNet(filters=2), tmp_path / "other.pth")
