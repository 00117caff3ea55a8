"""Turns are undone exactly, keep the shape, and carry labels along."""

from __future__ import annotations

import pytest
import torch

from medsemi.parts.turns import Turn, draw_turns, turn, turn_back


@pytest.mark.parametrize("space", [(6, 6), (6, 5), (4, 6, 6), (6, 6, 4), (3, 4, 5)])
def test_a_turn_is_undone(space: tuple[int, ...]) -> None:
    turns = draw_turns(8, space, torch.Generator().manual_seed(3))
    values = torch.randn(8, 2, *space)
    turned = turn(values, turns)
    assert turned.shape == values.shape
    assert not torch.equal(turned, values)
    assert torch.equal(turn_back(turned, turns), values)
    assert torch.equal(turn(turn_back(values, turns), turns), values)
    label = values[:, 0]
    assert torch.equal(turn(label, turns), turned[:, 0])


def test_by_hand() -> None:
    square = torch.tensor([[[1, 2], [3, 4]]])
    quarter, flip = Turn((False, False), 1), Turn((True, False))
    assert turn(square, [quarter]).tolist() == [[[2, 4], [1, 3]]]
    assert turn(square, [flip]).tolist() == [[[3, 4], [1, 2]]]
    assert turn(square, [Turn((True, False), 1)]).tolist() == [[[1, 3], [2, 4]]]


def test_all_symmetries_are_drawn_where_they_keep_the_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    square = {(t.flips, t.quarters) for t in draw_turns(400, (4, 4), generator)}
    assert len(square) == 16
    oblong = {(t.flips, t.quarters) for t in draw_turns(400, (4, 5), generator)}
    assert oblong == {((a, b), 0) for a in (False, True) for b in (False, True)}


def test_no_turn_exchanges_a_slice_axis_with_one_of_the_plane() -> None:
    # A window of 64 x 128 x 64 voxels of 1 x 1 x 5 mm.
    generator = torch.Generator().manual_seed(0)
    assert {t.quarters for t in draw_turns(100, (64, 128, 64), generator)} == {0}
    window = torch.arange(32).view(1, 4, 4, 2)
    for one in draw_turns(50, (4, 4, 2), generator):
        assert turn(window, [one]).flatten().sort().values.equal(window.flatten())
        assert {abs(int(a - b)) for a, b in turn(window, [one])[0].flatten(0, 1)} == {1}


def test_windows_of_oblong_voxels_have_no_quarter_turn() -> None:
    generator, other = (torch.Generator().manual_seed(0) for _ in range(2))
    oblong = draw_turns(100, (8, 8, 8), generator, square_voxels=False)
    assert {one.quarters for one in oblong} == {0}
    assert len({one.flips for one in oblong}) == 8
    assert draw_turns(9, (8, 8), other) == draw_turns(
        9, (8, 8), torch.Generator().manual_seed(0), square_voxels=True
    )
