"""How far a prediction is from a soft target."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from medsemi.errors import ConfigError
from medsemi.parts.losses import probabilities

Consistency = Callable[[Tensor, Tensor], Tensor]


def squared_difference(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over samples, classes and voxels of (softmax(logits) - target)^2.

    Args:
        logits: shape (batch, classes, *space).
        target: probabilities of the same shape.
    """
    return (probabilities(logits) - target).square().mean()


def symmetric_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over voxels of - sum q ln p - sum p ln q, for a target q.

    Its gradient does not vanish for targets of low confidence. Arguments as above; probabilities of
    the target below 1e-6 count as 1e-6.

    Source: Döbler, Marsden, Yang: Robust Mean Teacher, CVPR 2023, arXiv 2211.13081.
    """
    logs, target_logs = logits.float().log_softmax(1), target.clamp(min=1e-6).log()
    return -(target * logs + logs.exp() * target_logs).sum(1).mean()


CONSISTENCY_FORMS: dict[str, Consistency] = {
    "squared": squared_difference,
    "symmetric_cross_entropy": symmetric_cross_entropy,
}


def consistency_form(name: str) -> Consistency:
    """Return the consistency called `name`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in CONSISTENCY_FORMS:
        msg = f"consistency is '{name}'; it must be one of {', '.join(CONSISTENCY_FORMS)}."
        raise ConfigError(msg)
    return CONSISTENCY_FORMS[name]
