"""Two networks: their common voice, and that they differ."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.parts.entropy import mean_log_probability


class NetworkPair(nn.Module):
    """Two networks that answer with one voice: the mean of their probabilities, as logits."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        """Own both.

        A configuration that names one architecture twice gives one object: the second is copied then,
        so that each takes its own weights.
        """
        super().__init__()
        ours = {id(parameter) for parameter in first.parameters()}
        shared = any(id(parameter) in ours for parameter in second.parameters())
        self.first, self.second = first, copy.deepcopy(second) if shared else second

    def forward(self, image: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        return mean_log_probability([self.first(image), self.second(image)])


def require_different_starts(one: nn.Module, other: nn.Module) -> None:
    """Refuse two networks with the same weights, of which neither can tell the other anything.

    Raises:
        ConfigError: if they are one object, or equal in every parameter.
    """
    ours, theirs = list(one.parameters()), list(other.parameters())
    equal = [p.shape == q.shape and p.equal(q) for p, q in zip(ours, theirs, strict=False)]
    if len(ours) == len(theirs) and all(equal):
        raise ConfigError(
            "Both networks start from the same weights, so that they would say the same; build the"
            " second one anew."
        )
