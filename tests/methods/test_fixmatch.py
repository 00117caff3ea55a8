"""FixMatch: sure voxels are learned on the strong view, unsure ones not at all."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from medsemi.methods.fixmatch import FixMatch
from medsemi.parts.copy_paste import Box
from medsemi.parts.turns import Turn

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))


def test_the_term_by_hand() -> None:
    method, data = FixMatch(network(), rampup_steps=0, threshold=0.5), batch()
    draws = method.draw(data, torch.Generator().manual_seed(2))
    x = data.unlabeled.image
    method.student.eval()
    confidence, label = method.student(x).softmax(1).max(1)
    sure = confidence >= 0.5
    assert 0.1 < sure.float().mean() < 0.9
    strong = method.views.apply(x, draws.intensity)
    for one, box in zip(range(2), draws.boxes, strict=True):
        place = tuple(slice(c, c + n) for c, n in zip(box.corner, box.size, strict=True))
        strong[(one, 0, *place)] = x[one].mean()
    losses = functional.cross_entropy(method.student(strong), label, reduction="none")
    found = method(data, draws, 0)
    torch.testing.assert_close(found.terms["pseudo"], (sure * losses).sum() / sure.numel())
    torch.testing.assert_close(found.monitors["mask"], sure.float().mean())
    assert found.weights["pseudo"] == 1.0


def test_a_voxel_is_sure_by_its_probability_and_by_nothing_else() -> None:
    """(0.40, 0.30, 0.28, 0.02) passes the rule of SSL4MIS at 0.95; its probability is 0.40."""
    logits = torch.tensor([0.40, 0.30, 0.28, 0.02]).log().view(1, 4, 1, 1)
    net = nn.Conv2d(1, 4, 1)
    net.weight.data.zero_()
    net.bias.data = logits.flatten()
    method, data = FixMatch(net, rampup_steps=0), batch()
    found = method(data, method.draw(data, torch.Generator()), 0)
    assert found.monitors["mask"].item() == 0.0
    assert found.terms["pseudo"].item() == 0.0


def test_the_label_is_made_in_eval_mode_and_statistics_move_once() -> None:
    method, data = FixMatch(network(), rampup_steps=0), batch()
    method.train()
    method(data, method.draw(data, torch.Generator()), 0)
    assert method.student[1].num_batches_tracked.item() == 1
    assert all(module.training for module in method.modules())


def test_a_turned_view_is_shown_turned_and_answered_unturned() -> None:
    method, data = FixMatch(network(), rampup_steps=0, turns=True), batch()
    draws = method.draw(data, torch.Generator().manual_seed(2))
    turns = (Turn((True, False), 1), Turn((False, False), 2))
    none = tuple(Box((0, 0), (0, 0)) for _ in range(2))
    draws = dataclasses.replace(draws, turns=turns, boxes=none)
    x = method.views.apply(data.unlabeled.image, draws.intensity)
    strong = method.strong(data.unlabeled.image, draws)
    torch.testing.assert_close(strong[1], x[1].rot90(2, [1, 2]))
    torch.testing.assert_close(strong[0], x[0].rot90(1, [1, 2]).flip(1))


def test_the_weight_is_the_published_one_after_the_ramp() -> None:
    method, data = FixMatch(network(), rampup_steps=10), batch()
    draws = method.draw(data, torch.Generator())
    weights = [method(data, draws, step).weights["pseudo"] for step in (0, 10)]
    assert weights == pytest.approx([0.0067379, 1.0], abs=1e-6)


def test_windows_of_oblong_voxels_are_mirrored_and_never_turned_by_a_quarter() -> None:
    method, data = FixMatch(network(), rampup_steps=0, turns=True), batch()
    oblong = dataclasses.replace(
        data, unlabeled=dataclasses.replace(data.unlabeled, square_voxels=False)
    )
    for one, expected in ((data, {0, 1, 2, 3}), (oblong, {0})):
        draws = [method.draw(one, torch.Generator().manual_seed(seed)) for seed in range(30)]
        assert {turn.quarters for drawn in draws for turn in drawn.turns} == expected
