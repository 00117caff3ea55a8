"""The batch: what moves, what stays, what is absent."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medsemi.batch import Batch, Sub

LABELED = Sub(torch.ones(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.uint8), ("a", "b"))
UNLABELED = Sub(torch.zeros(1, 1, 4, 4), None, ("c",))


def test_to_moves_every_tensor_and_keeps_the_names() -> None:
    moved = Batch(LABELED, UNLABELED).to(torch.device("meta"))
    assert moved.unlabeled is not None
    assert moved.labeled.label is not None
    tensors = (moved.labeled.image, moved.labeled.label, moved.unlabeled.image)
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.labeled.image.shape == LABELED.image.shape
    assert moved.labeled.label.dtype == torch.uint8
    assert moved.unlabeled.label is None
    assert (moved.labeled.case_ids, moved.unlabeled.case_ids) == (("a", "b"), ("c",))
    assert LABELED.image.device.type == "cpu"


def test_a_batch_may_have_no_unlabeled_windows() -> None:
    assert Batch(LABELED).to(torch.device("cpu")).unlabeled is None


def test_pinning_asks_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda one: (asked.append(one), one)[1])
    pinned = Batch(LABELED, UNLABELED).pin_memory()
    assert {id(one) for one in asked} == {
        id(one) for one in (LABELED.image, LABELED.label, UNLABELED.image)
    }
    assert pinned.unlabeled is not None
    assert pinned.unlabeled.case_ids == ("c",)
    assert Batch(LABELED).pin_memory().unlabeled is None


def test_the_shape_of_voxels_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda one: one)
    oblong = dataclasses.replace(LABELED, square_voxels=False)
    assert LABELED.to(torch.device("cpu")).square_voxels
    assert not oblong.to(torch.device("cpu")).square_voxels
    assert not oblong.pin_memory().square_voxels


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LABELED.label = None  # type: ignore[misc]
