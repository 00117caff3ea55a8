"""Seeds that depend on what they are for, and on nothing else."""

from __future__ import annotations

import pytest
import torch

from medsemi.seeds import derive_generator, derive_seed


def test_a_seed_is_a_hash_that_must_not_change() -> None:
    # Another value would make every killed training continue with other numbers; one of `hash` would be
    # another in each process.
    assert derive_seed(1337, 0, 0, "draws") == 4178930900800559860


@pytest.mark.parametrize("other", [(1, 2, "draw"), (1, 3, "draws"), (2, 2, "draws"), (12, "draws")])
def test_any_other_part_gives_another_seed(other: tuple[int | str, ...]) -> None:
    assert derive_seed(*other) != derive_seed(1, 2, "draws")


def test_seeds_of_63_bits_do_not_collide() -> None:
    seeds = {derive_seed(5, step, rank) for step in range(5000) for rank in range(2)}
    assert len(seeds) == 10_000
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63


def test_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(4, generator=derive_generator(3, "a"))
    assert torch.equal(first, torch.rand(4, generator=derive_generator(3, "a")))
    assert not torch.equal(first, torch.rand(4, generator=derive_generator(3, "b")))
    assert torch.equal(before, torch.get_rng_state())
