"""Copy-paste of views: what each student sees and learns, and that no seam appears."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.frequency_copy_paste import FrequencyCopyPaste, PasteDraws, paste
from medsemi.parts.copy_paste import Box, outside_mask
from medsemi.parts.losses import linear_dice, region_losses
from medsemi.parts.views import FrequencyViews, ViewDraw

SPACE = (8, 8, 4)
BOX = Box((2, 1, 0), (5, 5, 2))
DRAWS = PasteDraws(BOX, ViewDraw((0.1, 0.2, 0.3, 0.4) * 2, (0.5, 0.6, 0.7, 0.8) * 2, (0, 0, 0)))
OUTSIDE = outside_mask(BOX, SPACE, torch.device("cpu"))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(7)
    image, other = (torch.randn(4, 1, *SPACE, generator=generator) for _ in range(2))
    label = torch.randint(2, (4, *SPACE), generator=generator).to(torch.uint8)
    return Batch(Sub(image, label, tuple("abcd")), Sub(other, None, tuple("efgh")))


def seen_by(method: FrequencyCopyPaste, given: Batch) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    members = {
        "low": method.students.low.network,
        "high": method.students.high.network,
        "teacher": method.teacher,
    }
    for name, member in members.items():
        member.register_forward_pre_hook(lambda _, inputs, n=name: seen.update({n: inputs[0]}))
    method(given, DRAWS, 0)
    return seen


def test_views_are_made_of_whole_windows_and_then_pasted() -> None:
    method, given = FrequencyCopyPaste(network()), batch()
    seen = seen_by(method, given)
    assert torch.equal(seen["teacher"], given.unlabeled.image)
    both = torch.cat([given.labeled.image, given.unlabeled.image])
    for band, view in zip(("low", "high"), method.views.apply(both, DRAWS.views), strict=True):
        labeled, unlabeled = view[:4], view[4:]
        inward, outward = seen[band].chunk(2)
        assert torch.equal(inward[..., OUTSIDE], labeled[:2][..., OUTSIDE])
        assert torch.equal(inward[..., ~OUTSIDE], unlabeled[:2][..., ~OUTSIDE])
        assert torch.equal(outward[..., OUTSIDE], unlabeled[2:][..., OUTSIDE])
        assert torch.equal(outward[..., ~OUTSIDE], labeled[2:][..., ~OUTSIDE])


def test_the_seam_of_the_box_is_in_no_view() -> None:
    """Two constant windows have an empty high view; pasted first, they would have an edge there."""
    bright = Sub(torch.full((4, 1, *SPACE), 5.0), torch.zeros(4, *SPACE, dtype=torch.uint8), ())
    given = Batch(bright, Sub(torch.zeros(4, 1, *SPACE), None, ()))
    method = FrequencyCopyPaste(network())
    assert seen_by(method, given)["high"].abs().max() < 1e-4
    pasted = paste(given.labeled.image, given.unlabeled.image, OUTSIDE)
    few = ViewDraw((0.2,) * 4, (0.5,) * 4, (0, 0, 0))
    assert FrequencyViews().apply(pasted, few)[1].abs().max() > 1.0


def test_the_terms_by_their_formulas() -> None:
    method, given = FrequencyCopyPaste(network(), component_filter=False), batch()
    with torch.no_grad():
        for p in method.students.high.parameters():
            p.add_(0.1)
    terms = method(given, DRAWS, 0)
    pseudo = (method.teacher(given.unlabeled.image).argmax(1)).to(torch.uint8)
    both = torch.cat([given.labeled.image, given.unlabeled.image])
    views = method.views.apply(both, DRAWS.views)
    students = method.students.low.network, method.students.high.network
    label = given.labeled.label
    expected = torch.tensor(0.0)
    for student, view in zip(students, views, strict=True):
        for start, outer, inner in ((0, "labeled", "pseudo"), (2, "pseudo", "labeled")):
            part = slice(start, start + 2)
            first, second = (view[:4], view[4:]) if start == 0 else (view[4:], view[:4])
            truth, other = (label, pseudo) if start == 0 else (pseudo, label)
            shown = torch.where(OUTSIDE, first[part], second[part])
            target = torch.where(OUTSIDE, truth[part], other[part])
            regions = {outer: OUTSIDE, inner: ~OUTSIDE}
            found = region_losses(student(shown), target, regions, linear_dice)
            for name, term in found.items():
                expected = expected + (0.5 if name.endswith("labeled") else 0.25) * term
    torch.testing.assert_close(terms.total, expected)
    assert sorted(terms.terms) == sorted(
        f"{band}_{kind}_{region}"
        for band in ("low", "high")
        for kind in ("dice", "ce")
        for region in ("labeled", "pseudo")
    )


def test_the_filter_takes_small_components_from_pseudo_labels_alone() -> None:
    method, given = FrequencyCopyPaste(network()), batch()
    filtered = method.pseudo_labels(given.unlabeled.image)()
    method.component_filter = False
    raw = method.pseudo_labels(given.unlabeled.image)()
    assert (filtered <= raw).all()
    assert filtered.sum() < raw.sum()


def test_the_teacher_follows_the_mean_without_warm_up() -> None:
    method = FrequencyCopyPaste(network(), ema_decay=0.9)
    for part, value in (
        (method.students.low, 1.0),
        (method.students.high, 3.0),
        (method.teacher, 0.0),
    ):
        for p in part.parameters():
            p.data.fill_(value)
    method.after_step(0)
    for p in method.teacher.parameters():
        torch.testing.assert_close(p.data, torch.full_like(p, 0.2))
    assert method.inference_network is method.networks["teacher"]
    assert not method.train().teacher.training


def test_halves_that_cannot_be_paired_are_refused() -> None:
    given = batch()
    few = Batch(given.labeled, Sub(given.unlabeled.image[:2], None, ()))
    with pytest.raises(ConfigError, match="same number"):
        FrequencyCopyPaste(network()).draw(few, torch.Generator())
