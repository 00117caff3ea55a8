"""The promises that every method keeps, in 2D and 3D.

Numbers in the names of tests are those of the list of properties in the design of the package:
1 total, 2 label blindness, 3 supervised limit, 4 fixed point, 5 teachers, 6 replay, 7 thresholds,
9 names of classes, 10 order of windows, 11 2D is 3D of one slice, 12 geometry, 13 resume, 14 cost.
Number 8, the ends of mixing, is in the tests of `parts.copy_paste`, `parts.mixing` and the methods
that mix. Each exception is written beside its test, with its reason.
"""

from __future__ import annotations

import copy
import dataclasses
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.method import Method, Passes
from medsemi.methods.supervised import Supervised
from medsemi.parts.copy_paste import Box
from medsemi.parts.turns import Turn
from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.views import OnView, ViewDraw
from medsemi.seeds import derive_generator

EVERY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("every_method.py"))))
METHODS, SUPERVISED_ALONE = EVERY.METHODS, EVERY.SUPERVISED_ALONE
network_of, batch_of = EVERY.network_of, EVERY.batch_of


@pytest.fixture(params=METHODS)
def make(request: pytest.FixtureRequest) -> Callable[[nn.Module], Method]:
    return METHODS[request.param]


@pytest.fixture(params=[(2, 3), (3, 2)], ids=["2D", "3D"])
def dims(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


def loss_of(method: Method, batch: Batch, seed: int = 5) -> torch.Tensor:
    return method(batch, method.draw(batch, derive_generator(seed)), 0).total


def permuted(draws: object, order: list[int]) -> object:
    """The same draws for permuted samples: a field with an entry per sample is permuted.

    Such a field may hold the entries of the labeled windows and, after them, of the unlabeled ones,
    or of several views of these. A `partner` is the number of a sample, and is renamed as well.
    """
    if isinstance(draws, tuple):
        if draws and len(draws) % len(order) == 0:
            return tuple(draws[i] for i in block_order(len(draws), order))
        return tuple(permuted(one, order) for one in draws)
    if not dataclasses.is_dataclass(draws):
        return draws
    names = [field.name for field in dataclasses.fields(draws)]
    changed = {name: permuted(getattr(draws, name), order) for name in names}
    if "partner" in changed:
        places = block_order(len(changed["partner"]), order)
        changed["partner"] = tuple(places.index(i) for i in changed["partner"])
    return dataclasses.replace(draws, **changed)


def block_order(count: int, order: list[int]) -> list[int]:
    size = len(order)
    return [start + i for start in range(0, count, size) for i in order]


def lifted(draws: object) -> object:
    """The same draws for windows with a third axis of one voxel."""
    if isinstance(draws, Box):
        return Box((*draws.corner, 0), (*draws.size, 1))
    if isinstance(draws, Turn):
        return dataclasses.replace(draws, flips=(*draws.flips, False))
    if isinstance(draws, ViewDraw):
        return dataclasses.replace(draws, anchor=(*draws.anchor, 0))
    if isinstance(draws, tuple):
        return tuple(lifted(one) for one in draws)
    if not dataclasses.is_dataclass(draws):
        return draws
    names = [field.name for field in dataclasses.fields(draws)]
    return dataclasses.replace(draws, **{name: lifted(getattr(draws, name)) for name in names})


def test_1_the_total_is_the_weighted_sum(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    terms = method(batch, method.draw(batch, derive_generator(1)), 0)
    assert terms.terms.keys() == terms.weights.keys()
    expected = sum(terms.weights[name] * term.item() for name, term in terms.terms.items())
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)
    assert all(t.isfinite() and t.dtype == torch.float32 for t in terms.terms.values())
    assert not any(value.requires_grad for value in terms.detached().values())


def test_2_labels_of_unlabeled_windows_change_nothing(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    garbage = torch.full_like(batch.labeled.label, 255)
    other = Batch(batch.labeled, Sub(batch.unlabeled.image, garbage, batch.unlabeled.case_ids))
    assert torch.equal(loss_of(method, batch), loss_of(method, other))


# The labeled loss is another one, or labeled windows are mixed, or more than the network learns it.
NO_SUPERVISED_LIMIT = ("pretraining", "bcp", "random", "cfcnet", "mixmatch", "remixmatch", "urpc")
NO_SUPERVISED_LIMIT += ("frequency",)
WEIGHTS = ("consistency", "pseudo", "cross", "entropy", "agreement", "difference")


@pytest.mark.parametrize("name", [n for n in METHODS if not n.startswith(NO_SUPERVISED_LIMIT)])
def test_3_without_the_unlabeled_terms_it_is_the_supervised_method(name: str, dims) -> None:
    network, batch = network_of(*dims), batch_of(*dims)
    dice = "squared" if name.endswith("squared") else "linear"
    method = METHODS[name](network)
    for weight in WEIGHTS:
        if hasattr(method, f"{weight}_weight"):
            setattr(method, f"{weight}_weight", 0.0)
    loss_of(method, batch).backward()
    for student in (n for key, n in method.networks.items() if key.startswith("student")):
        alone = Supervised(copy.deepcopy(student), dice=dice)
        alone.zero_grad()
        loss_of(alone, batch).backward()
        pairs = zip(student.parameters(), alone.student.parameters(), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)


def still(method: Method) -> Method:
    """The same method without noise."""
    for name in ("teacher_noise", "student_noise", "noise"):
        if hasattr(method, name):
            setattr(method, name, 0.0)
    return method


@pytest.mark.parametrize(
    "name", ["mean teacher", "uncertainty-aware mean teacher", "interpolation consistency"]
)
def test_4_a_teacher_that_is_the_student_teaches_nothing(name: str, dims) -> None:
    method, batch = still(METHODS[name](network_of(*dims))), batch_of(*dims)
    draws = method.draw(batch, derive_generator(5))
    if hasattr(draws, "shares"):
        draws = dataclasses.replace(draws, shares=(0.0, 1.0, 1.0, 0.0))
    consistency = method(batch, draws, 0).terms["consistency"]
    consistency.backward()
    assert consistency.item() < 1e-12
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in method.parameters())


def test_5_teachers_take_no_gradient_and_move_after_the_step(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    method.train()
    teachers = [n for name, n in method.networks.items() if name.startswith("teacher")]
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    trainable = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.5)
    loss_of(method, batch).backward()
    optimizer.step()
    for teacher, old in zip(teachers, before, strict=True):
        assert all(not p.requires_grad and p.grad is None for p in teacher.parameters())
        assert all(torch.equal(teacher.state_dict()[key], old[key]) for key in old)
    for network in method.networks.values():
        for parameter in network.parameters():
            # The same in all students, whichever of them a teacher follows.
            values = torch.linspace(1.0, 2.0, parameter.numel()).view_as(parameter)
            parameter.data = values if parameter.requires_grad else torch.zeros_like(values)
    method.after_step(10_000)  # past every warm-up
    for teacher in teachers:
        decay = method.ema_decay if hasattr(method, "ema_decay") else method.teacher.decay
        for parameter in teacher.parameters():
            values = torch.linspace(1.0, 2.0, parameter.numel()).view_as(parameter)
            torch.testing.assert_close(parameter.data, (1.0 - decay) * values)


def test_6_replay_and_purity(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    state = torch.random.get_rng_state()
    first, second = loss_of(method, batch), loss_of(method, batch)
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())
    draws = [method.draw(batch, derive_generator(seed)) for seed in range(8)]
    if draws[0] is not None:
        assert len(set(draws)) > 1
        assert len({method(batch, d, 0).total.item() for d in draws}) > 1


@pytest.mark.parametrize("name", ["fixmatch", "fixmatch turned", "unimatch", "dual mean teacher"])
def test_7_a_threshold_that_nothing_reaches_and_one_that_all_do(name: str, dims) -> None:
    method, batch = METHODS[name](network_of(*dims)), batch_of(*dims)
    draws = method.draw(batch, derive_generator(5))
    method.threshold = 1.01
    terms = method(batch, draws, 0)
    names = [n for n in terms.terms if n.startswith(("pseudo", "strong"))]
    unlabeled = torch.stack([terms.terms[n] for n in names]).sum()
    unlabeled.backward()
    assert unlabeled.item() == 0.0
    assert not any(p.grad is not None and p.grad.any() for p in method.parameters())
    method.threshold = 0.0
    terms = method(batch, draws, 0)
    assert all(terms.terms[n] > 0 for n in names)
    if name != "dual mean teacher":  # whose teachers must agree, too
        assert terms.monitors["mask"].item() == 1.0


# The background is another class than the rest: a foreground loss, a largest component, a filter by
# the Dice of foregrounds. There only the foreground is renamed.
BACKGROUND_IS_SPECIAL = ("bcp", "random views", "cfcnet", "dual mean teacher conflicts")
BACKGROUND_IS_SPECIAL += ("frequency",)


def test_9_the_names_of_classes_do_not_matter(request: pytest.FixtureRequest, make) -> None:
    name, batch = request.node.callspec.params["make"], batch_of(2, 3)
    order = [0, 2, 1] if name.startswith(BACKGROUND_IS_SPECIAL) else [2, 0, 1]
    method, other = (seeded(make, 2) for _ in range(2))
    for parameter in other.parameters():
        if parameter.shape[0] == 3:
            parameter.data = parameter.data[order]
    renamed = torch.tensor(order).argsort()[batch.labeled.label.long()].to(torch.uint8)
    ids = batch.labeled.case_ids
    of_renamed = Batch(Sub(batch.labeled.image, renamed, ids), batch.unlabeled)
    torch.testing.assert_close(loss_of(other, of_renamed), loss_of(method, batch))


def seeded(make: Callable[[nn.Module], Method], axes: int) -> Method:
    network = network_of(axes, 3)
    torch.manual_seed(1)
    return make(network)


def test_10_the_order_inside_a_half_does_not_matter(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    order = [1, 0, 3, 2]
    first = batch.labeled
    draws = method.draw(batch, derive_generator(5))
    other = Batch(
        Sub(first.image[order], first.label[order], first.case_ids),
        Sub(batch.unlabeled.image[order], None, first.case_ids),
    )
    expected, found = method(batch, draws, 0), method(other, permuted(draws, order), 0)
    torch.testing.assert_close(found.total, expected.total)


# UCF-Mix, which is part of CFC-Net, cuts each axis into blocks, and one voxel has none.
@pytest.mark.parametrize("name", [n for n in METHODS if not n.startswith("cfcnet")])
def test_11_a_slice_is_a_volume_of_one_slice(name: str) -> None:
    flat, deep = (seeded(METHODS[name], axes) for axes in (2, 3))
    batch = batch_of(2, 3)
    values = zip(flat.parameters(), deep.parameters(), strict=True)
    for source, target in values:
        target.data.zero_()
        middle = target.data[..., target.shape[-1] // 2] if target.ndim == 5 else target.data
        middle.copy_(source.data)
    labeled, ids = batch.labeled, batch.labeled.case_ids
    volumes = Batch(
        Sub(labeled.image.unsqueeze(-1), labeled.label.unsqueeze(-1), ids),
        Sub(batch.unlabeled.image.unsqueeze(-1), None, ids),
    )
    draws = flat.draw(batch, derive_generator(5))
    expected, found = flat(batch, draws, 0), deep(volumes, lifted(draws), 0)
    torch.testing.assert_close(found.total, expected.total)


def test_12_what_was_turned_is_turned_back() -> None:
    """With a network of single voxels, a turned view has the loss of the same view unturned."""
    torch.manual_seed(0)
    method = METHODS["fixmatch turned"](nn.Sequential(nn.Conv2d(1, 3, 1)))
    batch = batch_of(2, 3)
    draws = method.draw(batch, derive_generator(5))
    assert any(any(one.flips) for one in draws.turns)
    unturned = dataclasses.replace(draws, turns=(Turn((False, False)),) * 4)
    torch.testing.assert_close(method(batch, draws, 0).total, method(batch, unturned, 0).total)


def test_13_a_state_dict_gives_the_same_next_loss(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1)
    other = make(network_of(*dims))
    assert not torch.equal(loss_of(method, batch), loss_of(other, batch))
    other.load_state_dict(method.state_dict())
    assert torch.equal(loss_of(method, batch), loss_of(other, batch))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_batch_size(make, dims, size: int) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims, size=size)
    loss = loss_of(method, batch)
    loss.backward()
    assert loss.isfinite()


def unequal(axes: int, classes: int, labeled: int, unlabeled: int) -> Batch:
    one = batch_of(axes, classes, size=labeled)
    return Batch(one.labeled, batch_of(axes, classes, size=unlabeled, seed=2).unlabeled)


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (4, 1), (2, 5)])
def test_halves_of_unequal_size(
    request: pytest.FixtureRequest, make, dims, labeled: int, unlabeled: int
) -> None:
    method, batch = make(network_of(*dims)), unequal(*dims, labeled, unlabeled)
    name = request.node.callspec.params["make"]
    if name.startswith(("bcp", "frequency")):
        with pytest.raises(ConfigError, match=f"labeled_windows is {labeled} and unlabeled_"):
            method.draw(batch, derive_generator(5))
        return
    loss = loss_of(method, batch)
    loss.backward()
    assert loss.isfinite()
    if name in SUPERVISED_ALONE:
        assert torch.equal(loss, loss_of(method, batch_of(*dims, size=labeled)))


@pytest.mark.parametrize("name", ["bcp", "frequency copy-paste"])
def test_a_window_more_is_paired_where_halves_have_one_size(name: str, dims) -> None:
    """Three windows have two halves of two, with the one in the middle in both; so have four."""
    method, batch = METHODS[name](network_of(*dims)), unequal(*dims, 3, 4)
    assert loss_of(method, batch).isfinite()


def test_every_trainable_weight_gets_a_gradient(make, dims) -> None:
    """Where one has none, processes that share a training wait for each other for ever."""
    method, batch = make(network_of(*dims)), batch_of(*dims)
    loss_of(method, batch).backward()
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]


def test_autocast_keeps_the_loss_in_float32(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    exact = loss_of(method, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_of(method, batch)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.1)


def test_training_lowers_the_loss(request: pytest.FixtureRequest, make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    # Two teachers that move agree on more and more voxels, whose loss then adds up.
    moving = not request.node.callspec.params["make"].startswith("dual")
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.02)
    start = loss_of(method, batch).item()
    for step in range(15):
        optimizer.zero_grad()
        loss_of(method, batch).backward()
        optimizer.step()
        if moving:
            method.after_step(step)
    assert loss_of(method, batch).item() < start


def test_the_deployed_network_is_one_of_the_scored_ones(make, dims) -> None:
    method = make(network_of(*dims))
    assert any(network is method.inference_network for network in method.networks.values())


def test_dropout_is_the_only_other_source_of_chance(make, dims) -> None:
    method, batch = make(network_of(*dims, dropout=0.5)), batch_of(*dims)
    method.train()
    torch.manual_seed(3)
    first = loss_of(method, batch)
    torch.manual_seed(3)
    assert torch.equal(first, loss_of(method, batch))


def counted(method: Method, batch: Batch) -> dict[str, Passes]:
    """What each network sees in a step, counted by hooks over two steps."""
    seen = {name: dict.fromkeys(("learned", "watched", "attacked"), 0.0) for name in method.passes}

    def count(name: str, image: torch.Tensor) -> None:
        kind = "learned" if torch.is_grad_enabled() else "watched"
        kind = "attacked" if image.requires_grad else kind
        seen[name][kind] += len(image) / len(batch.labeled.image) / 2

    for name in method.passes:
        network = method.networks[name]
        members = [network.network] if isinstance(network, OnView) else [network]
        if isinstance(network, NetworkPair):
            members = [network.first, network.second]
        for member in members:
            member.register_forward_pre_hook(lambda _, inputs, name=name: count(name, inputs[0]))
    for step in (0, 1):
        method(batch, method.draw(batch, derive_generator(5)), step)
    return {name: Passes(**kinds) for name, kinds in seen.items()}


def test_14_the_cost_is_the_declared_one(make, dims) -> None:
    method = make(network_of(*dims))
    assert counted(method, batch_of(*dims)) == method.passes
    expected = [p.learned + p.watched / 3 + p.attacked * 2 / 3 for p in method.passes.values()]
    assert method.cost == pytest.approx(sum(expected))


@pytest.mark.parametrize(
    "name", [n for n in METHODS if n not in SUPERVISED_ALONE and not n.startswith("cfcnet")]
)
def test_a_batch_without_unlabeled_windows_is_refused_in_words(name: str, dims) -> None:
    method, batch = METHODS[name](network_of(*dims)), batch_of(*dims)
    with pytest.raises(ConfigError, match="unlabeled_windows"):
        method(Batch(batch.labeled), None, 0)
