"""The optimizers that a configuration names."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn, optim

from medsemi.errors import ConfigError


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    rate: float,
    momentum: float,
    weight_decay: float,
) -> optim.Optimizer:
    """Return the optimizer called `name`.

    Args:
        name: `sgd`, `nesterov` (nnU-Net has it with a momentum of 0.99) or `adamw`.
        parameters: those that are trained.
        rate: the learning rate of the first step; a schedule sets it from then on.
        momentum: of `sgd` and `nesterov`; of `adamw` it is the decay of the first moment (0.9).
        weight_decay: of `adamw` decoupled from the gradient (Loshchilov, Hutter, ICLR 2019).

    Raises:
        ConfigError: for an unknown name, a rate or decay that cannot be, or a momentum outside of [0, 1).
    """
    if rate <= 0 or weight_decay < 0:
        raise ConfigError(
            f"learning_rate is {rate} and weight_decay {weight_decay}; give a rate above 0 and a"
            " decay of 0 or more."
        )
    if not 0 <= momentum < 1:
        raise ConfigError(f"momentum is {momentum}; give 0 to below 1.")
    parameters = list(parameters)
    if name == "sgd":
        return optim.SGD(parameters, rate, momentum, weight_decay=weight_decay)
    if name == "nesterov" and momentum > 0:
        return optim.SGD(parameters, rate, momentum, weight_decay=weight_decay, nesterov=True)
    if name == "adamw":
        return optim.AdamW(parameters, rate, (momentum, 0.999), weight_decay=weight_decay)
    raise ConfigError(
        f"optimizer_name is '{name}' with momentum {momentum}; it must be sgd, adamw, or nesterov"
        " with a momentum above 0."
    )
