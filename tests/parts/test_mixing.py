"""Partners, shares, and mixtures at their ends."""

from __future__ import annotations

import pytest
import torch

from medsemi.parts.mixing import blend, draw_partners, draw_shares


def test_nobody_is_its_own_partner_where_there_is_another() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 5):
        seen = {draw_partners(count, generator) for _ in range(60)}
        assert all(sorted(partner) == list(range(count)) for partner in seen)
        assert all(i != other for partner in seen for i, other in enumerate(partner))
        assert len(seen) == count - 1
    assert draw_partners(1, generator) == (0,)


@pytest.mark.parametrize("alpha", [0.2, 0.75])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    shares = torch.tensor(draw_shares(4000, alpha, torch.Generator().manual_seed(1)))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    assert draw_shares(3, alpha, torch.Generator().manual_seed(1)) == draw_shares(
        3, alpha, torch.Generator().manual_seed(1)
    )


def test_the_ends_of_a_mixture() -> None:
    one, other = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    mixed = blend(one, other, (0.0, 1.0, 0.25))
    assert torch.equal(mixed[0], one[0])
    assert torch.equal(mixed[1], other[1])
    torch.testing.assert_close(mixed[2], 0.75 * one[2] + 0.25 * other[2])
