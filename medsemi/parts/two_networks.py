"""Two networks: their common voice, and that they differ."""

from __future__ import annotations

from torch import Tensor, nn

from medsemi.errors import ConfigError
from medsemi.parts.entropy import mean_log_probability


class NetworkPair(nn.Module):
    """Two networks that answer with one voice: the mean of their probabilities, as logits."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        """Own both."""
        super().__init__()
        self.first, self.second = first, second

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
