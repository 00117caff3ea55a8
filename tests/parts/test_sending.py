"""Drawn numbers as tensors."""

from __future__ import annotations

import pytest
import torch

from medsemi.parts.sending import chosen, on_device


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_numbers_arrive_as_they_are(device: str) -> None:
    where = torch.device(device)
    found = on_device([[1, 2], [3, 4]], where)
    assert (found.device.type, found.dtype, found.tolist()) == (
        device,
        torch.int64,
        [[1, 2], [3, 4]],
    )
    shares = on_device((0.25, 0.5), where, torch.float64)
    assert (shares.dtype, shares.tolist()) == (torch.float64, [0.25, 0.5])
    assert torch.equal(on_device(torch.ones(3), where).cpu(), torch.ones(3))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_entries_come_in_the_order_of_their_places(device: str) -> None:
    values = torch.arange(6.0, device=device).view(3, 2).requires_grad_()
    found = chosen(values, (2, 0, 2))
    assert found.tolist() == [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    found.sum().backward()
    assert values.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
