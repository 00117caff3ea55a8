"""Options are refused by their name, with what they may be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from medsemi.errors import ConfigError
from medsemi.parts.checked_options import check_bounds, check_choice, check_positive, check_range


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (lambda: check_choice(("a", "b", "c"), deploy="d"), "deploy is 'd'; take a, b or c."),
        (lambda: check_choice((None, 1), connectivity=6), "connectivity is 6; take None or 1."),
        (lambda: check_range(0, 1, threshold=95), "threshold is 95; give 0 to 1."),
        (lambda: check_range(0, 1, threshold=math.nan), "threshold is nan; give 0 to 1."),
        (lambda: check_range(0, 1, threshold="0.9"), "threshold is '0.9'; give 0 to 1."),
        (lambda: check_range(0, 1, threshold=None), "threshold is None; give 0 to 1."),
        (lambda: check_range(1, one=1, repeats=0), "repeats is 0; give 1 or more."),
        (lambda: check_positive(alpha=0.0), "alpha is 0.0; give more than 0."),
        (
            lambda: check_bounds(0, alpha_range=[0.4]),
            "alpha_range is [0.4]; give two numbers, the lower one first, each 0 or more.",
        ),
        (
            lambda: check_bounds(-math.inf, contrast=(2, 1)),
            "contrast is (2, 1); give two numbers, the lower one first, each of any size.",
        ),
    ],
)
def test_the_sentence(check: Callable[[], None], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        check()
    assert str(error.value) == sentence


def test_ends_belong_to_the_range() -> None:
    check_range(0, 1, low=0, high=1, numpy=np.float32(0.5))
    check_range(0, steps=10**9)
    check_bounds(0, 1, pair=[0, 1], same=(0.5, 0.5))
    check_choice((1, 2), passes=2)
    check_positive(alpha=1e-9)
