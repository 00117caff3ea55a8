"""Weights that grow with the step."""

from __future__ import annotations

import math


def sigmoid_ramp(step: int, length: int) -> float:
    """Return exp(-5 (1 - step / length)^2) until `length`, and 1 from there on.

    Args:
        step: from 0.
        length: steps until 1 is reached; 0 is 1 from the start.

    Source: Laine, Aila: Temporal ensembling for semi-supervised learning, ICLR 2017.
    """
    if step >= length:
        return 1.0
    return math.exp(-5.0 * (1.0 - step / length) ** 2)


def linear_ramp(step: int, length: int) -> float:
    """Return step / length until `length`, and 1 from there on; 0 is 1 from the start.

    Source: Berthelot et al.: MixMatch, NeurIPS 2019, in their code.
    """
    return 1.0 if step >= length else step / length
