"""Optimizers by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.errors import ConfigError
from medsemi.training.optimizers import build_optimizer

SETTINGS = {"rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def moved(name: str) -> torch.Tensor:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer(name, iter([weight]), **SETTINGS)
    for _ in range(2):
        optimizer.zero_grad()
        (2 * weight).sum().backward()
        optimizer.step()
    return weight.detach()


def test_sgd_is_that_of_the_published_code() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    published = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.01)
    assert build_optimizer("sgd", [weight], **SETTINGS).defaults == published.defaults


def test_the_second_moment_of_adamw_is_the_published_one() -> None:
    adamw = build_optimizer("adamw", [nn.Parameter(torch.zeros(1))], **SETTINGS)
    assert adamw.defaults["betas"] == (0.9, 0.999)


def test_each_moves_in_its_own_way() -> None:
    # By hand: gradient 2 + 0.01 w; buffer 2.01, then 0.9 * 2.01 + 2.00799 of w = 0.799.
    assert moved("sgd").item() == pytest.approx(1 - 0.1 * 2.01 - 0.1 * 3.81699, abs=1e-5)
    first = 1 - 0.1 * (2.01 + 0.9 * 2.01)
    gradient = 2 + 0.01 * first
    nesterov = first - 0.1 * (gradient + 0.9 * (0.9 * 2.01 + gradient))
    assert moved("nesterov").item() == pytest.approx(nesterov, abs=1e-5)
    # Its step is the rate, the decay stands beside it.
    assert moved("adamw").item() == pytest.approx((1 * 0.999 - 0.1) * 0.999 - 0.1, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "momentum", "word"),
    [("adam", 0.9, "optimizer_name"), ("nesterov", 0.0, "above 0"), ("sgd", 1.0, "momentum is")],
)
def test_what_cannot_be_is_named(name: str, momentum: float, word: str) -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    with pytest.raises(ConfigError, match=word):
        build_optimizer(name, parameters, rate=0.1, momentum=momentum, weight_decay=0.0)
    for rate, decay in ((0.0, 0.0), (0.1, -1.0)):
        with pytest.raises(ConfigError, match="give a rate above 0"):
            build_optimizer("sgd", parameters, rate=rate, momentum=0.9, weight_decay=decay)
