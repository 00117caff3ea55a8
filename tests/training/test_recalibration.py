"""Recalibrated statistics are those of the windows, and nothing else changes."""

from __future__ import annotations

import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.training.recalibration import recalibrated


def test_statistics_are_those_of_the_windows() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout3d(0.9), nn.BatchNorm3d(1), nn.Conv3d(1, 2, 1)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = [torch.randn(4, 1, 8, 8, 8) * 3 + 5 for _ in range(8)]
    batches = [
        Batch(Sub(a, None, ()), Sub(b, None, ()))
        for a, b in zip(images[::2], images[1::2], strict=True)
    ]
    result = recalibrated(network, batches, torch.device("cpu"))
    everything = torch.cat(images)
    torch.testing.assert_close(result[1].running_mean[0], everything.mean(), atol=0.05, rtol=0)
    torch.testing.assert_close(result[1].running_var[0], everything.var(), atol=0.2, rtol=0)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(result[2].weight, network[2].weight)
    assert not result.training
