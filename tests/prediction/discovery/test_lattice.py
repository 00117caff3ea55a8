"""Order, gaps, uneven steps and tilt, for any stack in any direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.lattice import Lattice, measure
from medsemi.prediction.discovery.stack_cases import arrange
from medsemi.prediction.discovery.stacks import are_overview, positions, split_stacks
from medsemi.prediction.options import Options

quick = settings(derandomize=True, deadline=None, max_examples=60)
turns = st.tuples(*[st.floats(-3, 3)] * 3)
spacings = st.tuples(st.floats(0.2, 4), st.floats(0.2, 4))
counts = st.integers(3, 40)
steps = st.floats(0.4, 9)


def places(
    along: Sequence[float],
    turn: Sequence[float] = (0, 0, 0),
    spacing: tuple[float, float] = (1, 1),
    lean: float = 0.0,
) -> list[Place]:
    """A stack at these distances along its normal, turned, leaning along the rows by `lean` a mm."""
    axes = Rotation.from_euler("xyz", turn).as_matrix()
    column, row, normal = axes.T
    return [
        Place(tuple(normal * t + row * lean * t), (*column, *row), spacing)  # type: ignore[arg-type]
        for t in along
    ]


def lattice(*arguments: Any, **named: Any) -> Lattice:
    return measure(places(*arguments, **named), (20, 30))


@quick
@given(turns, spacings, counts, steps, st.floats(0, 0.01))
def test_a_regular_stack_is_found_in_any_direction(turn, spacing, count, step, rounding) -> None:
    noise = np.random.default_rng(count).uniform(-rounding / 2, rounding / 2, count)
    along = np.arange(count) * step + noise
    found = lattice(along, turn, spacing)
    assert (found.kind, found.tilted, found.missing) == ("regular", False, 0)
    assert found.spacing == pytest.approx(step, abs=0.011)
    grid = found.grid()
    assert grid.shape == (30, 20, count)
    assert np.linalg.det(grid.affine) > 0
    assert grid.spacing[:2] == pytest.approx((spacing[1], spacing[0]))
    last = grid.affine @ [0, 0, count - 1, 1]
    assert last[:3] == pytest.approx(found.origins[-1])


@quick
@given(turns, st.integers(6, 40), steps, st.data())
def test_missing_slices_are_counted_and_named(turn, count, step, data) -> None:
    inner = st.integers(1, count - 2)
    gone = data.draw(st.sets(inner, min_size=1, max_size=max(1, count // 4)))
    kept = [i for i in range(count) if i not in gone]
    # If every step is a multiple of a larger one nothing is seen to be missing.
    if all(b - a == kept[1] - kept[0] for a, b in pairwise(kept)):
        return
    if min(b - a for a, b in pairwise(kept)) > 1:
        return
    found = lattice([i * step for i in kept], turn)
    assert (found.kind, found.missing) == ("gaps", len(gone))
    assert found.missing_after == tuple(
        index for index, (a, b) in enumerate(pairwise(kept)) if b - a > 1
    )
    assert found.slice_index() == tuple(map(float, kept))
    few = len(gone) <= 0.1 * len(kept) and max(found.steps) <= 4
    assert found.can_be_filled == few
    assert found.grid().shape[2] == count


@quick
@given(turns, counts, steps, st.floats(2, 30), st.sampled_from([-1, 1]))
def test_tilt_is_measured_from_positions(turn, count, step, degrees, side) -> None:
    lean = side * np.tan(np.radians(degrees))
    found = lattice([i * step for i in range(count)], turn, (0.5, 0.5), lean=lean)
    assert found.kind == "regular"
    assert found.tilt_degrees == pytest.approx(degrees, abs=1e-4)
    assert found.spacing == pytest.approx(step)
    assert found.shift == pytest.approx(step * abs(lean))
    assert found.tilted == (abs(lean) * step * (count - 1) > 0.25)
    # The volume of a voxel does not grow with the lean.
    assert found.grid().voxel_mm3 == pytest.approx(0.25 * step)


@quick
@given(turns, st.integers(5, 20), st.floats(1, 5), st.floats(0.15, 0.4))
def test_a_change_of_step_is_uneven(turn, count, step, change) -> None:
    bend = count // 2
    along = [i * step + max(0, i - bend) * step * change for i in range(count)]
    found = lattice(along, turn)
    assert found.kind == "uneven"
    findings, grid, index = arrange(found, Options())
    assert ([finding.code for finding in findings], grid, index) == (["R02"], None, ())
    findings, grid, index = arrange(found, Options(gaps="fill"))
    assert [finding.code for finding in findings] == ["W06"]
    assert grid is not None
    assert min(0.5, step) <= grid.spacing[2] <= step + 1e-9
    assert index[0] == 0
    assert index[-1] == pytest.approx(grid.shape[2] - 1)
    for i, origin in zip(index, found.origins, strict=True):
        assert (grid.affine @ [0, 0, i, 1])[:3] == pytest.approx(origin, abs=1e-6)


@pytest.mark.parametrize(
    ("step", "other", "kind"),
    [(5, 5.09, "regular"), (5, 5.11, "uneven"), (0.5, 0.519, "regular"), (0.5, 0.521, "uneven")],
)
def test_a_step_may_differ_by_a_fiftieth_or_a_fiftieth_of_a_mm(step, other, kind) -> None:
    assert lattice(np.cumsum([0, *[step] * 5, other, *[step] * 5])).kind == kind


@pytest.mark.parametrize(
    ("step", "drift", "kind"),
    [(5, 0.24, "regular"), (5, 0.26, "uneven"), (1, 0.095, "regular"), (1, 0.105, "uneven")],
)
def test_positions_may_drift_by_a_tenth_of_a_step_or_a_quarter_of_a_mm(step, drift, kind) -> None:
    index = np.arange(41)
    wave = np.abs(index - 20) - np.abs(index - 20).mean()
    assert lattice(index * step + wave / np.abs(wave).max() * drift).kind == kind


@pytest.mark.parametrize(("gap", "kind"), [(10.2, "gaps"), (10.3, "uneven")])
def test_a_gap_is_a_whole_number_of_steps_within_a_twentieth(gap, kind) -> None:
    assert lattice(np.cumsum([0, *[5] * 9, gap, *[5] * 10])).kind == kind


@pytest.mark.parametrize(
    ("gaps", "count", "filled"),
    [([2, 2], 20, True), ([2, 2], 19, False), ([4], 50, True), ([5], 50, False)],
)
def test_a_tenth_and_three_in_a_row_may_be_missing(gaps, count, filled) -> None:
    steps = [1] * (count - 2 - len(gaps))
    found = lattice(5.0 * np.cumsum([0, 1, *gaps, *steps]))
    assert len(found.along) == count
    assert (found.kind, found.can_be_filled) == ("gaps", filled)


@pytest.mark.parametrize(("widest", "filled"), [(3.25, True), (3.35, False)])
def test_an_uneven_stack_is_filled_up_to_three_median_steps(widest, filled) -> None:
    found = lattice(np.cumsum([0, 1, 1.2, 1, 1.2, 1, 1.2, 1, widest]))  # the median is 1.1
    assert (found.kind, found.can_be_filled) == ("uneven", filled)


@pytest.mark.parametrize(("degrees", "tilted"), [(0.45, False), (0.55, True)])
def test_a_long_stack_is_tilted_from_half_a_degree(degrees, tilted) -> None:
    assert lattice(5.0 * np.arange(41), lean=np.tan(np.radians(degrees))).tilted is tilted


@pytest.mark.parametrize(("drift", "tilted"), [(0.45, False), (0.55, True)])
def test_a_short_stack_is_tilted_from_half_a_pixel(drift, tilted) -> None:
    assert lattice([0, 5, 10], lean=drift / 10).tilted is tilted


def test_small_uneven_steps_are_not_followed_below_half_a_millimeter() -> None:
    found = lattice([0, 0.2, 0.5, 0.9, 1.4, 2.0])
    assert found.kind == "uneven"
    assert found.even_grid().spacing[2] >= 0.5
    fine = lattice([0, 0.4, 1, 2.3, 3, 4.4, 5, 6.2, 7.5, 8.5, 10])
    assert fine.kind == "uneven"
    assert fine.even_grid().spacing[2] == pytest.approx(0.5)


def test_a_wide_hole_in_an_uneven_stack_is_not_filled() -> None:
    found = lattice([0, 1, 2.3, 3.1, 9.7])
    findings, grid, _ = arrange(found, Options(gaps="fill"))
    assert ([finding.code for finding in findings], grid) == (["R02"], None)


@pytest.mark.parametrize(("aside", "straight"), [(0.45, True), (0.55, False)])
def test_slices_half_a_pixel_beside_the_line_are_no_lattice(aside: float, straight: bool) -> None:
    stack = places(range(9))
    x, y, z = stack[4].position
    stack[4] = Place((x + aside, y, z), stack[4].orientation, (1, 1))
    found = measure(stack, (4, 4))
    assert (found.kind, found.straight) == ("regular" if straight else "uneven", straight)
    assert found.can_be_filled == straight


def test_a_slow_drift_of_steps_is_seen() -> None:
    """Each step is within tolerance, their sum is not."""
    steps_mm = [5 + 0.09 * np.sign(i - 20) for i in range(40)]
    assert lattice(np.cumsum([0, *steps_mm])).kind != "regular"


@quick
@given(turns, st.lists(st.floats(-200, 200), min_size=1, max_size=30), st.randoms())
def test_positions_are_ordered_and_joined(turn, along, draw) -> None:
    stack = [
        Frame(f"{i}", 0, f"{i}", (4, 4), place=place)  # type: ignore[arg-type]
        for i, place in enumerate(places(along, turn))
    ]
    shuffled = draw.sample(stack, len(stack))
    found = positions(stack)
    assert positions(shuffled) == found
    assert sum(map(len, found)) == len(along)
    normal = found[0][0].place.normal  # type: ignore[union-attr]
    starts = [float(np.dot(normal, group[0].place.position)) for group in found]  # type: ignore
    assert starts == sorted(starts)


def test_stacks_are_split_by_what_makes_one_grid(frame: Callable[..., Frame]) -> None:
    main = [frame((0, 0, z), uid=f"m{z}") for z in range(5)]
    turned = [frame((0, 0, z), (0, 1, 0, 0, 0, -1), uid=f"t{z}") for z in range(3)]
    coarse = [frame((0, 0, z), spacing=(1.0, 1.01), uid=f"c{z}") for z in range(2)]
    nearly = [frame((0, 0, 5 + z), spacing=(1.0, 1.0005), uid=f"n{z}") for z in range(2)]
    found = split_stacks([*coarse, *turned, *main, *nearly])
    assert [sum(map(len, stack)) for stack in found] == [7, 2, 3] or [
        sum(map(len, stack)) for stack in found
    ] == [7, 3, 2]


@pytest.mark.parametrize(
    ("orientations", "expected"),
    [
        ([(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)], True),
        ([(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)], False),
        ([(1, 0, 0, 0, np.cos(a), np.sin(a)) for a in np.radians([0, 26, 52, 77, 103])], False),
    ],
)
def test_three_steep_stacks_are_an_overview(
    orientations: list[tuple[float, ...]], expected: bool, frame: Callable[..., Frame]
) -> None:
    frames = [frame((i, 0, 0), o, uid=f"{i}") for i, o in enumerate(orientations)]
    assert are_overview(split_stacks(frames)) is expected
