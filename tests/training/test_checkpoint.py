"""The checkpoint: bit for bit, refused when it does not fit, and never code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medsemi.errors import CheckpointError, OutputError
from medsemi.training import checkpoint
from medsemi.training.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    weight_names,
)

SETTINGS: dict[str, Any] = {"steps": 10, "window": (16, 16), "manifest": "abc"}


def network(out: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, out, 3), nn.BatchNorm2d(out))


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.rand(2, 1, 5, 5)).square().sum().backward()
    optimizer.step()
    return net, optimizer


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net, optimizer = trained()
    state = {"method": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 7}
    save_checkpoint(tmp_path / "last.pt", state, SETTINGS)
    back = load_checkpoint(tmp_path / "last.pt", SETTINGS)
    assert back is not None
    assert back.keys() == state.keys()
    assert back["step"] == 7
    assert all(torch.equal(back["method"][k], v) for k, v in net.state_dict().items())
    momenta = [entry["momentum_buffer"] for entry in back["optimizer"]["state"].values()]
    expected = [optimizer.state[p]["momentum_buffer"] for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(momenta, expected, strict=True))


def test_without_a_file_there_is_no_state(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "last.pt", SETTINGS) is None


@pytest.mark.parametrize(
    ("current", "told"),
    [
        ({**SETTINGS, "steps": 20}, "steps was 10, is 20"),
        ({**SETTINGS, "clip": 1.0}, "clip was None, is 1.0"),
        ({"steps": 10, "window": (16, 16)}, "manifest was abc, is None"),
    ],
)
def test_other_settings_are_refused_by_name(
    tmp_path: Path, current: dict[str, Any], told: str
) -> None:
    save_checkpoint(tmp_path / "last.pt", {"step": 1}, SETTINGS)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(tmp_path / "last.pt", current)


def test_the_order_and_the_kind_of_sequence_of_settings_do_not_matter(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"step": 1}, SETTINGS)
    same = {"manifest": "abc", "window": [16, 16], "steps": 10}
    assert load_checkpoint(tmp_path / "last.pt", same) == {"step": 1}


def test_a_write_that_fails_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1}, SETTINGS)

    def full(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {"step": 2}, SETTINGS)
    assert load_checkpoint(path, SETTINGS) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_torch_cannot_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        msg = "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"
        raise RuntimeError(msg)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"model\.pt: cannot be written \(.*unexpected pos"):
        save_weights(tmp_path / "model.pt", nn.Conv3d(1, 1, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.rand(1000)}, SETTINGS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"last\.pt cannot be read"):
        load_checkpoint(path, SETTINGS)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    if writer == "torch":
        torch.save({"x": Harmful()}, path)
    else:
        path.write_bytes(pickle.dumps({"x": Harmful()}, protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path, SETTINGS)
    assert not (tmp_path / "touched").exists()


def test_weights_come_back_into_another_network(tmp_path: Path) -> None:
    net, _ = trained()
    save_weights(tmp_path / "model.pt", net)
    other = network()
    assert load_weights(other, tmp_path / "model.pt") is other
    pairs = zip(other.state_dict().values(), net.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pt does not exist"):
        load_weights(network(), tmp_path / "model.pt")


def test_what_is_no_state_dict_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="a list instead of a state dict"):
        load_weights(network(), tmp_path / "model.pt")


@pytest.mark.parametrize("other", [nn.Conv2d(1, 2, 3), network(3)])
def test_weights_of_another_network_are_refused(tmp_path: Path, other: nn.Module) -> None:
    save_weights(tmp_path / "model.pt", network())
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"does not fit the network \(missing"):
        load_weights(other, tmp_path / "model.pt")
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        {0: torch.zeros(1)},
        {**network().state_dict(), 1: torch.zeros(1)},
        {**network().state_dict(), "0.weight": 2.0},
        {"method": network().state_dict(), "step": 2},
    ],
)
def test_entries_that_are_no_weights_are_named(tmp_path: Path, content: dict[Any, Any]) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt holds entries that are no weights \("):
        load_weights(network(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no weights"):
        weight_names(tmp_path / "model.pt")
