"""Which axis is treated apart."""

from __future__ import annotations

import pytest

from medsemi.data.anisotropy import coarse_axis


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1.0, 1.0, 3.1), 2), ((1.0, 1.0, 2.9), None), ((0.5, 3.1, 1.0), 1), ((0.5, 2.9, 1.0), None)],
)
def test_an_axis_is_coarse_beyond_three_times_all_others(
    spacing: tuple[float, ...], axis: int | None
) -> None:
    assert coarse_axis(spacing) == axis
