"""Two networks that teach each other must differ, or neither has anything to tell the other."""

from __future__ import annotations

from torch import nn

from medsemi.errors import ConfigError


def require_different_starts(one: nn.Module, other: nn.Module) -> None:
    """Refuse two networks that hold the same weights.

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
