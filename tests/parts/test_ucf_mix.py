"""UCF-Mix: what is exchanged, what stays, and what displacement does to a thin line."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from medsemi.errors import ConfigError
from medsemi.parts.blocks import block_means, blocks_to_voxels
from medsemi.parts.ucf_mix import MODES, Exchange, UCFMix

GRID = (4, 4, 2)
SPACE = (8, 12, 4)
BLOCKS = 32


def scores(seed: int, samples: int = 3) -> torch.Tensor:
    """Uncertainty that is the same within a block."""
    generator = torch.Generator().manual_seed(seed)
    return blocks_to_voxels(torch.rand(samples, BLOCKS, generator=generator), GRID, SPACE)


def views(samples: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    low, high = torch.randn(2, samples, 2, *SPACE, generator=generator)
    return low, high


def choose(mode: str, low=None, high=None, share: float = 0.1) -> Exchange:
    mix = UCFMix(mode, GRID, share)
    order = mix.draw(3, SPACE, torch.Generator().manual_seed(4))
    low, high = scores(1) if low is None else low, scores(2) if high is None else high
    return mix.choose(low, high, order)


@pytest.mark.parametrize("mode", ["union", "random"])
def test_an_exchange_twice_is_none(mode: str) -> None:
    exchange, (low, high) = choose(mode), views()
    mixed = exchange.apply(low, high)
    assert not torch.equal(mixed[0], low)
    assert torch.equal(mixed[0] + mixed[1], low + high)
    again = exchange.apply(*mixed)
    assert torch.equal(again[0], low)
    assert torch.equal(again[1], high)


@pytest.mark.parametrize("mode", ["union", "fill", "random"])
def test_labels_stay_where_they_are(mode: str) -> None:
    label = torch.randint(2, (3, *SPACE), generator=torch.Generator().manual_seed(1))
    assert torch.equal(choose(mode).label(label), label)


@pytest.mark.parametrize(("value", "swapped"), [(False, False), (True, True)])
def test_no_block_and_all_blocks(value: bool, swapped: bool) -> None:
    mask = torch.full((3, BLOCKS), value)
    low, high = views()
    mixed = Exchange(mask, mask, None, GRID).apply(low, high)
    assert torch.equal(mixed[0], high if swapped else low)
    assert torch.equal(mixed[1], low if swapped else high)


@pytest.mark.parametrize("mode", ["union", "random", "displaced"])
def test_how_many_blocks(mode: str) -> None:
    count = choose(mode, share=0.25).into_low.sum(1)
    assert ((count >= 8) & (count <= 16)).all()
    assert torch.equal(count, choose("union", share=0.25).into_low.sum(1))
    assert choose(mode, scores(1), scores(1), 0.25).into_low.sum(1).tolist() == [8, 8, 8]
    assert choose(mode, share=0.0).into_low.sum(1).ge(1).all()


def test_the_most_uncertain_blocks_of_either_student_are_exchanged() -> None:
    low, high = torch.zeros(2, 1, BLOCKS)
    low[0, [3, 8]], high[0, [8, 20]] = torch.tensor([0.9, 0.8]), torch.tensor([0.7, 0.6])
    spread = [blocks_to_voxels(score, GRID, SPACE) for score in (low, high)]
    exchange = UCFMix("union", GRID, 2 / BLOCKS).choose(*spread, ())
    assert exchange.into_low.nonzero()[:, 1].tolist() == [3, 8, 20]
    assert torch.equal(exchange.into_low, exchange.into_high)


def test_fill_takes_from_the_surer_student_alone() -> None:
    low, high = torch.zeros(2, 1, BLOCKS)
    low[0, [3, 8]], high[0, [8, 20]] = torch.tensor([0.9, 0.8]), torch.tensor([0.7, 0.6])
    spread = [blocks_to_voxels(score, GRID, SPACE) for score in (low, high)]
    exchange = UCFMix("fill", GRID, 2 / BLOCKS).choose(*spread, ())
    assert exchange.into_low.nonzero()[:, 1].tolist() == [3, 8]
    assert exchange.into_high.nonzero()[:, 1].tolist() == [20]


def test_each_view_takes_its_own_blocks() -> None:
    into_low, into_high = torch.zeros(2, 3, BLOCKS, dtype=torch.bool)
    into_low[:, 0], into_high[:, -1] = True, True
    low, high = views()
    mixed_low, mixed_high = Exchange(into_low, into_high, None, GRID).apply(low, high)
    first, last = (..., slice(2), slice(3), slice(2)), (..., slice(6, 8), slice(9, 12), slice(2, 4))
    expected_low, expected_high = low.clone(), high.clone()
    expected_low[first], expected_high[last] = high[first], low[last]
    assert torch.equal(mixed_low, expected_low)
    assert torch.equal(mixed_high, expected_high)


def test_equal_scores_choose_the_lowest_numbers() -> None:
    flat = torch.full((1, *SPACE), 0.5)
    exchange = UCFMix("union", GRID, 3 / BLOCKS).choose(flat, flat, ())
    assert exchange.into_low.nonzero()[:, 1].tolist() == [0, 1, 2]


def test_random_blocks_come_from_the_draw_alone() -> None:
    mix = UCFMix("random", GRID, 0.25)
    order = mix.draw(3, SPACE, torch.Generator().manual_seed(4))
    assert [sorted(one) for one in order] == [list(range(BLOCKS))] * 3
    exchange = mix.choose(scores(1), scores(2), order)
    for mask, one in zip(exchange.into_low, order, strict=True):
        chosen = set(mask.nonzero().flatten().tolist())
        assert chosen == set(one[: len(chosen)])
    for mode in set(MODES) - {"random"}:
        state = (generator := torch.Generator()).get_state()
        assert UCFMix(mode, GRID).draw(3, SPACE, generator) == ()
        assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize(
    ("uncertain_low", "uncertain_high", "expected"),
    [(3, 0, [4, 1, 2, 5, 4, 5]), (3, 3, [0, 1, 2, 4, 4, 5])],
    ids=["apart", "the second move wins"],
)
def test_displacement_by_hand(uncertain_low: int, uncertain_high: int, expected: list[int]) -> None:
    """Each student's most uncertain block is filled with the other's most certain one."""
    low, high = torch.full((2, 1, BLOCKS), 0.5)
    low[0, uncertain_low], low[0, 4] = 0.9, 0.1
    high[0, uncertain_high], high[0, 5] = 0.9, 0.1
    spread = [blocks_to_voxels(score, GRID, SPACE) for score in (low, high)]
    source = UCFMix("displaced", GRID, 1 / BLOCKS).choose(*spread, ()).source
    assert source[0, :6].tolist() == expected
    assert source[0, 6:].tolist() == list(range(6, BLOCKS))


def test_displaced_content_keeps_its_label() -> None:
    """The label of a voxel is drawn into both views, so that a slip would show."""
    label = torch.randint(2, (3, *SPACE), generator=torch.Generator().manual_seed(1))
    shown = label.float().unsqueeze(1)
    exchange = choose("displaced")
    mixed_low, mixed_high = exchange.apply(shown, shown)
    moved = exchange.label(label)
    assert torch.equal(mixed_low[:, 0], moved.float())
    assert torch.equal(mixed_high[:, 0], moved.float())
    assert not torch.equal(block_means(moved.float(), GRID), block_means(label.float(), GRID))


def test_displacement_cuts_a_thin_line_and_the_exchange_does_not() -> None:
    """A diagonal line, uncertain at its middle; the most certain blocks are background."""
    label = torch.zeros(1, 48, 48, 48, dtype=torch.long)
    steps = torch.arange(4, 44)
    label[0, steps, steps, 24] = 1
    uncertainty = torch.zeros(1, 48, 48, 48)
    uncertainty[0, 24:32, 24:32, 16:32] = 1.0
    pieces = {}
    for mode in ("union", "displaced"):
        mix = UCFMix(mode, (6, 6, 3), 1 / 108)
        moved = mix.choose(uncertainty, uncertainty, ()).label(label)[0].numpy()
        pieces[mode] = ndimage.label(moved, ndimage.generate_binary_structure(3, 3))[1]
    assert pieces == {"union": 1, "displaced": 2}


def test_the_foreground_of_exchanged_blocks() -> None:
    mask = torch.zeros(1, BLOCKS, dtype=torch.bool)
    mask[0, 0] = True
    label = torch.ones(1, *SPACE)
    label[0, 0, 0, 0] = 0
    share = Exchange(mask, mask, None, GRID).foreground(label)
    assert share.item() == pytest.approx(11 / 12)


@pytest.mark.parametrize("settings", [{"mode": "swap"}, {"share": 1.5}, {"share": -0.1}])
def test_settings_that_cannot_be_applied_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        UCFMix(**settings)


def test_the_default_grid() -> None:
    assert UCFMix().grid((64, 64)) == (8, 8)
    assert UCFMix().grid((96, 96, 96)) == (6, 6, 6)
    with pytest.raises(ConfigError, match="take one of 1, 2, 4, 7, 8"):
        UCFMix().grid((112, 112, 80))
