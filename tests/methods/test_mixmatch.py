"""MixMatch: guesses, sharpening and mixtures, and what ReMixMatch adds."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from medsemi.errors import ConfigError
from medsemi.methods.mixmatch import MixMatch, class_frequencies, sharpen
from medsemi.parts.intensity_views import IntensityViews
from medsemi.parts.turns import turn

batch = runpy.run_path(str(Path(__file__).with_name("small_batch.py")))["batch"]


def method(**settings) -> MixMatch:
    torch.manual_seed(0)
    return MixMatch(nn.Conv2d(1, 3, 3, padding=1), **{"rampup_steps": 0} | settings)


def test_sharpening(reference_logits) -> None:
    p = reference_logits.a.softmax(1)
    expected = torch.tensor([0.0176865, 0.93004337, 0.05227012], dtype=torch.float64)
    found = sharpen(p, 0.5)
    torch.testing.assert_close(found[0, :, 0, 0], expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(sharpen(p, 1.0), p)
    hard = sharpen(p.float(), 1e-3)  # no small temperature gives 0 / 0
    assert torch.equal(hard.argmax(1), p.argmax(1))
    assert hard.amax(1).min() > 0.99


def test_a_partner_never_has_the_larger_share() -> None:
    net = method()
    for seed in range(20):
        draws = net.draw(batch(), torch.Generator().manual_seed(seed))
        assert all(0.0 <= share <= 0.5 for share in draws.shares)
        assert sorted(draws.partner) == list(range(6))  # two labeled, two views of two


def test_unmixed_losses_by_hand() -> None:
    net, data = method(), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    draws = dataclasses.replace(draws, shares=(0.0,) * 6)
    found = net(data, draws, 0)
    logits = net.student(data.labeled.image)
    expected = functional.cross_entropy(logits, data.labeled.label.long())
    torch.testing.assert_close(found.terms["ce_labeled"], expected)
    turns = list(zip(*draws.turns, strict=True))
    guess = sharpen(net.mean_prediction(data.unlabeled.image, turns), 0.5)
    answers = [net.student(turn(data.unlabeled.image, one)).softmax(1) for one in turns]
    losses = [(p - turn(guess, one)).square().mean() for p, one in zip(answers, turns, strict=True)]
    torch.testing.assert_close(found.terms["unlabeled"], torch.stack(losses).mean())


def test_a_mixture_by_hand() -> None:
    net, data = method(), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    draws = dataclasses.replace(draws, partner=(1, 2, 3, 4, 5, 0), shares=(0.25,) + (0.0,) * 5)
    values = torch.randn(6, 1, 8, 8)
    mixed = net.mixture(values, draws)
    torch.testing.assert_close(mixed[0], 0.75 * values[0] + 0.25 * values[1])
    assert torch.equal(mixed[1:], values[1:])
    found = net(data, draws, 0).terms["ce_labeled"]
    one, two = data.labeled.image
    target = functional.one_hot(data.labeled.label.long(), 3).movedim(-1, 1).float()
    logits = net.student(torch.stack([0.75 * one + 0.25 * two, two]))
    soft = torch.stack([0.75 * target[0] + 0.25 * target[1], target[1]])
    torch.testing.assert_close(found, functional.cross_entropy(logits, soft))


def test_views_are_turned_back_before_they_are_averaged() -> None:
    torch.manual_seed(0)
    net, data = MixMatch(nn.Conv2d(1, 3, 1), rampup_steps=0, guesses=3), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    mean = net.mean_prediction(data.unlabeled.image, list(zip(*draws.turns, strict=True)))
    torch.testing.assert_close(mean, net.student(data.unlabeled.image).softmax(1))


def test_alignment_follows_what_was_labeled_and_what_was_guessed() -> None:
    net, data = method(alignment=1.0, classes=3), batch()
    mean = net.student(data.unlabeled.image).softmax(1).detach()
    torch.testing.assert_close(net.aligned(mean), mean)  # nothing is known yet
    net(data, net.draw(data, torch.Generator()), 0)
    net.after_step(0)
    truth = torch.bincount(data.labeled.label.flatten(), minlength=3) / data.labeled.label.numel()
    torch.testing.assert_close(
        net.frequencies[0], torch.lerp(torch.full((3,), 1 / 3), truth, 1 / 128)
    )
    net.frequencies = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.4, 0.2]])
    expected = mean * torch.tensor([2.0, 0.25, 0.5]).view(1, 3, 1, 1)
    found = net.aligned(mean)
    torch.testing.assert_close(
        found, expected / expected.sum(1, keepdim=True), rtol=1e-4, atol=1e-6
    )
    assert "frequencies" in net.state_dict()


def test_forward_leaves_the_frequencies_alone() -> None:
    net, data = method(alignment=1.0, classes=3), batch()
    before = net.frequencies.clone()
    net(data, net.draw(data, torch.Generator()), 0)
    assert torch.equal(net.frequencies, before)


def test_the_anchor_is_a_strong_view_with_the_guess_of_weak_ones() -> None:
    net, data = method(views=IntensityViews(), anchor_weight=0.5), batch()
    draws = net.draw(data, torch.Generator().manual_seed(2))
    turns = list(zip(*draws.turns, strict=True))
    x = data.unlabeled.image
    guess = turn(sharpen(net.mean_prediction(x, turns), 0.5), turns[0])
    strong = turn(net.views.apply(x, draws.intensity[0]), turns[0])
    found = net(data, draws, 0)
    expected = functional.cross_entropy(net.student(strong), guess)
    torch.testing.assert_close(found.terms["anchor"], expected)
    assert found.weights["anchor"] == 0.5


def test_the_ramp_is_linear_and_alignment_needs_classes() -> None:
    net, data = method(rampup_steps=16_000), batch()
    draws = net.draw(data, torch.Generator())
    weights = [net(data, draws, step).weights["unlabeled"] for step in (0, 4000, 16_000)]
    assert weights == pytest.approx([0.0, 0.25, 1.0])
    with pytest.raises(ConfigError, match="classes"):
        method(alignment=1.0)


def test_class_frequencies() -> None:
    probability = torch.tensor([[0.25, 0.75], [0.75, 0.25]]).view(2, 2, 1, 1)
    torch.testing.assert_close(class_frequencies(probability), torch.tensor([0.5, 0.5]))


def test_windows_of_oblong_voxels_are_mirrored_and_never_turned_by_a_quarter() -> None:
    net, data = method(), batch()
    oblong = dataclasses.replace(
        data, unlabeled=dataclasses.replace(data.unlabeled, square_voxels=False)
    )
    for one, expected in ((data, {0, 1, 2, 3}), (oblong, {0})):
        draws = [net.draw(one, torch.Generator().manual_seed(seed)) for seed in range(30)]
        assert {by.quarters for drawn in draws for row in drawn.turns for by in row} == expected
