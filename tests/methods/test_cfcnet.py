"""CFC-Net as its re-creation is specified: losses and gradients."""

from __future__ import annotations

import copy
import inspect
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.errors import ConfigError
from medsemi.methods.cfcnet import CFCNet
from medsemi.parts.components import hard_labels
from medsemi.parts.foreground_loss import foreground_loss
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import FrequencyViews, ViewDraw

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_cfcnet.py"))))
network, batch, method, drawn = SMALL.network, SMALL.batch, SMALL.method, SMALL.drawn
run, students, moved = SMALL.run, SMALL.students, SMALL.moved
SAME = FrequencyViews(alpha_range=(1.0, 1.0), beta_range=(1.0, 1.0))


def gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in net.parameters()]


def test_the_defaults_are_those_of_the_lineage() -> None:
    defaults = {k: p.default for k, p in inspect.signature(CFCNet).parameters.items()}
    assert (defaults["teacher_rule"], defaults["low_share"]) == ("mean", 0.99)
    assert (defaults["ema_decay"], defaults["ema_buffers"]) == (0.99, "average")
    assert (defaults["consistency_weight"], defaults["rampup_steps"]) == (
        0.5,
        inspect.Parameter.empty,
    )
    assert [defaults[f"{name}_weight"] for name in ("cross", "full", "mix", "dice")] == [
        1.0,
        1.0,
        0.5,
        0.5,
    ]
    assert (defaults["min_voxels"], defaults["confidence"]) == (1, 0.0)
    assert defaults["full_view_supervision"] == 0.0
    net = CFCNet(network(), rampup_steps=12_000)
    assert (net.views, net.mix) == (FrequencyViews(), UCFMix())


def test_all_three_start_as_one_network() -> None:
    net = CFCNet(start := network(), rampup_steps=12_000)
    state = start.state_dict()
    for copied in (*students(net), net.teacher):
        for name, value in copied.state_dict().items():
            assert torch.equal(value, state[name])
    pointers = [p.data_ptr() for p in net.state_dict().values()]
    assert len(set(pointers)) == len(pointers) == 3 * len(state)


def test_the_terms_by_their_formulas() -> None:
    net, given = method(), batch()
    moved(net.students.low, 1)
    moved(net.students.high, 2)
    draws = drawn(net, given)
    terms = net(given, draws, 0).terms
    n = 2
    views = net.views.apply(torch.cat([given.labeled.image, given.unlabeled.image]), draws.views)
    low, high = (f(v) for f, v in zip(students(net), views, strict=True))
    target = hard_labels(net.teacher(given.unlabeled.image))

    label = given.labeled.label
    supervised = foreground_loss(low[:n], label) + foreground_loss(high[:n], label)
    torch.testing.assert_close(terms["supervised"], supervised)

    def both(z_low, z_high, for_low, for_high) -> Tensor:
        first = foreground_loss(z_low, for_low, min_voxels=1)
        return (first + foreground_loss(z_high, for_high, min_voxels=1)) / 2

    cross = both(low[n:], high[n:], hard_labels(high[n:]), hard_labels(low[n:]))
    torch.testing.assert_close(terms["cross"], cross)
    full = both(low[n:], high[n:], target, target)
    torch.testing.assert_close(terms["full"], full)


def test_the_mix_shows_exchanged_views_and_asks_for_the_same_label() -> None:
    """With every block exchanged, each student sees the view of the other one."""
    net, given = method(mix=UCFMix(blocks=2, share=1.0)), batch()
    moved(net.students.low, 1)
    moved(net.students.high, 2)
    draws = drawn(net, given)
    term = net(given, draws, 0).terms["mix"]
    image = torch.cat([given.labeled.image, given.unlabeled.image])
    view_low, view_high = (v[2:] for v in net.views.apply(image, draws.views))
    low, high = students(net)
    z_low, z_high = low(view_high), high(view_low)
    target = hard_labels(net.teacher(given.unlabeled.image))
    losses = [
        foreground_loss(z, label, min_voxels=1)
        for z, label in (
            (z_low, target),
            (z_high, target),
            (z_low, hard_labels(z_high)),
            (z_high, hard_labels(z_low)),
        )
    ]
    torch.testing.assert_close(term, torch.stack(losses).sum() / 2)


def test_the_ramp_weighs_all_unlabeled_terms() -> None:
    net, given = method(rampup_steps=100, mix_weight=0.25, consistency_weight=0.4), batch()
    for step in (0, 50, 100, 500):
        ramp = 0.4 * sigmoid_ramp(step, 100)
        expected = {"supervised": 1.0, "cross": ramp, "full": ramp, "mix": 0.25 * ramp}
        assert run(net, given, step).weights == pytest.approx(expected)


def test_students_take_gradients_and_the_teacher_none() -> None:
    net, given = method().train(), batch()
    optimized = [p for p in net.parameters() if p.requires_grad]
    assert {id(p) for p in optimized}.isdisjoint(id(p) for p in net.teacher.parameters())
    before = copy.deepcopy(net.teacher.state_dict())
    run(net, given).total.backward()
    for student in students(net):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
        assert any(p.grad.abs().max() > 0 for p in student.parameters())
    assert all(p.grad is None for p in net.teacher.parameters())
    torch.optim.SGD(optimized, lr=0.1).step()
    assert all(v.equal(before[k]) for k, v in net.teacher.state_dict().items())
    net.after_step(0)
    assert not all(v.equal(before[k]) for k, v in net.teacher.state_dict().items())
    parts = {name.partition(".")[0] for name in net.state_dict()}
    assert parts == {"students", "teacher"}


def test_a_pseudo_label_teaches_one_student_alone() -> None:
    net, given = method(), batch()
    moved(net.students.high, 2)
    draws = drawn(net, given)
    image = torch.cat([given.labeled.image, given.unlabeled.image])
    view_low, view_high = (v[2:] for v in net.views.apply(image, draws.views))
    net(given, draws, 0).terms["cross"].backward()
    found = gradients(net.students.low)
    net.zero_grad()
    low, high = students(net)
    (foreground_loss(low(view_low), hard_labels(high(view_high)), min_voxels=1) / 2).backward()
    assert all(p.grad is None for p in high.parameters())
    for one, other in zip(found, gradients(low), strict=True):
        torch.testing.assert_close(one, other)


def test_without_consistency_it_is_supervised_training_on_views() -> None:
    net, given = method(cross_weight=0.0, full_weight=0.0, mix_weight=0.0), batch()
    draws = drawn(net, given)
    terms = net(given, draws, 0)
    assert set(terms.terms) == {"supervised"}
    terms.total.backward()
    found = gradients(net.students.low), gradients(net.students.high)
    net.zero_grad()
    alone = Batch(given.labeled)
    few = ViewDraw(draws.views.alpha[:2], draws.views.beta[:2], draws.views.anchor)
    views = net.views.apply(alone.labeled.image, few)
    for student, view, expected in zip(students(net), views, found, strict=True):
        foreground_loss(student(view), given.labeled.label).backward()
        for one, other in zip(gradients(student), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_mix_without_weight_costs_no_pass() -> None:
    calls: list[int] = []
    net = method(mix_weight=0.0)
    net.students.low.network.register_forward_hook(lambda *_: calls.append(1))
    run(net, batch())
    assert len(calls) == 1
    net = method(mix_weight=0.5)
    net.students.low.network.register_forward_hook(lambda *_: calls.append(1))
    run(net, batch())
    assert len(calls) == 3


@pytest.mark.parametrize("unlabeled", [None, 0])
def test_no_unlabeled_windows(unlabeled: int | None) -> None:
    given = batch(unlabeled=0)
    given = given if unlabeled == 0 else Batch(given.labeled)
    terms = run(method(), given)
    assert set(terms.terms) == {"supervised"}
    assert terms.total.isfinite()


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1)])
def test_halves_may_differ_in_number(sizes: tuple[int, int]) -> None:
    given = batch(*sizes)
    net = method()
    assert len(drawn(net, given).views.alpha) == 4
    assert run(net, given).total.isfinite()


def test_equal_views_of_one_start_never_part() -> None:
    """Why views must differ: else two students are one, with cross losses of equal gradient."""
    net, given = method(views=SAME), batch()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        run(net, given, step).total.backward()
        for one, other in zip(*map(gradients, students(net)), strict=True):
            assert torch.equal(one, other)
        optimizer.step()
        net.after_step(step)
    for one, other in zip(*(s.parameters() for s in students(net)), strict=True):
        assert torch.equal(one, other)
    apart = method()
    run(apart, given).total.backward()
    assert not torch.equal(gradients(students(apart)[0])[0], gradients(students(apart)[1])[0])


def test_the_teacher_answers_alike_in_both_modes() -> None:
    net = CFCNet(network(dropout=0.5), rampup_steps=12_000)
    image = batch().unlabeled.image
    assert torch.equal(net.train().teacher(image), net.eval().teacher(image))
    assert net.train().students.low.network.training
    assert not net.teacher.training
    assert net.inference_network is net.networks["teacher"] is net.teacher


def test_students_are_scored_on_their_own_view() -> None:
    net, image = method(), batch().unlabeled.image
    low, high = net.views.apply(image, net.views.fixed(len(image), 3))
    assert torch.equal(net.networks["student_low"](image), net.students.low.network(low))
    assert torch.equal(net.networks["student_high"](image), net.students.high.network(high))


def test_both_students_are_deployed_as_the_mean_of_their_probabilities() -> None:
    net, image = method(deploy="students"), batch().unlabeled.image
    moved(net.students.high, 2)
    assert net.inference_network is net.networks["students"]
    low, high = (net.networks[f"student_{band}"](image) for band in ("low", "high"))
    mean = (low.softmax(1) + high.softmax(1)) / 2
    torch.testing.assert_close(net.inference_network(image).softmax(1), mean)


def test_blocks_that_do_not_fit_are_refused_before_the_step() -> None:
    net = method(mix=UCFMix(blocks=3))
    with pytest.raises(ConfigError, match="blocks"):
        drawn(net, batch())
    assert drawn(method(mix=UCFMix(blocks=3), mix_weight=0.0), batch()).block_order == ()


def test_confidence_leaves_voxels_out_of_the_full_term() -> None:
    given = batch()
    none, all_of_them = method(confidence=1.0), method()
    assert run(none, given).terms["full"] == 0.0
    assert run(all_of_them, given).terms["full"] > 0.0
    assert torch.equal(run(none, given).terms["cross"], run(all_of_them, given).terms["cross"])


def test_an_empty_pseudo_label_has_no_dice() -> None:
    """Every network is sure of background: what is left is a cross entropy of nothing."""
    net = method()
    for part in (*students(net), net.teacher):
        nn.init.zeros_(part[-1].weight)
        part[-1].bias.data = torch.tensor([20.0, 0.0, 0.0])
    terms = run(net, batch())
    assert terms.monitors["pseudo_foreground_teacher"] == 0.0
    for name in ("cross", "full", "mix"):
        assert terms.terms[name] < 1e-6
    assert run(method(min_voxels=0), batch()).terms["full"].isfinite()


def test_supervision_on_the_plain_window_alternates() -> None:
    net, given = method(full_view_supervision=0.5), batch()
    moved(net.students.high, 2)
    for step, student in enumerate(students(net)):
        terms = run(net, given, step)
        expected = foreground_loss(student(given.labeled.image), given.labeled.label)
        torch.testing.assert_close(terms.terms["full_view"], expected)
        assert terms.weights["full_view"] == 0.5


def test_what_is_monitored() -> None:
    terms = run(method(views=SAME), batch())
    assert terms.monitors["student_agreement"] == 1.0
    assert set(terms.monitors) == {
        "student_agreement",
        "pseudo_foreground_low",
        "pseudo_foreground_high",
        "pseudo_foreground_teacher",
        "labeled_foreground",
        "uncertainty",
        "exchanged_foreground",
    }
    share = (batch().labeled.label > 0).float().mean()
    assert terms.monitors["labeled_foreground"] == share
    assert all(0.0 <= value <= 1.0 for value in terms.monitors.values())


@pytest.mark.parametrize(
    ("settings", "learned", "watched"),
    [
        ({}, 3.0, 1.0),
        ({"mix_weight": 0.0}, 2.0, 1.0),
        ({"full_view_supervision": 0.5}, 3.5, 1.0),
        ({"teacher_rule": "two"}, 3.0, 2.0),
    ],
)
def test_passes_are_those_that_are_made(
    settings: dict[str, object], learned: float, watched: float
) -> None:
    net, given = method(**settings), batch(labeled=2, unlabeled=2)
    seen: list[int] = []
    for student in students(net):
        student.register_forward_hook(lambda _, shown, __: seen.append(len(shown[0])))
    run(net, given)
    declared = net.passes
    assert declared["student_low"] == declared["student_high"]
    assert declared["student_low"].learned == learned
    assert sum(seen) == 2 * (2 * learned)
    assert declared["teacher"].watched == watched
