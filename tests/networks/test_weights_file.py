"""Whatever lies under the name of a file of weights, one sentence tells what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medsemi.errors import CheckpointError
from medsemi.networks.weights_file import not_weights, read_saved


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"import torch\n\nprint(torch.__version__)\n",
        b"hello world, this is a text\n",
        b"state of 2024\n",
        *(np.random.default_rng(seed).bytes(300) for seed in range(20)),
    ],
)
def test_whatever_a_damaged_file_raises_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt cannot be read as a file of weights"):
        read_saved(path)


def test_a_missing_file_and_what_is_no_state_dict_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pt does not exist; give"):
        read_saved(tmp_path / "absent.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match=r"list\.pt holds a list instead of a state dict"):
        read_saved(tmp_path / "list.pt")


def test_entries_that_are_no_weights_are_named() -> None:
    tensor = torch.zeros(1)
    assert not_weights({"weight": tensor}) == []
    assert not_weights({"weight": tensor, 1: tensor, "bias": 2.0}) == ["1", "bias"]
