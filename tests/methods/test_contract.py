"""The promises that every method keeps, in 2D and 3D.

Numbers in the names of tests are those of the list of properties in the design of the package:
1 total, 2 label blindness, 5 teachers, 6 replay, 8 mixing extremes (with `parts.copy_paste`),
10 batch permutation, 13 resume.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.methods.bcp import BCP, CopyPastePretraining
from medsemi.methods.cfcnet import CFCNet, RandomViewPretraining
from medsemi.methods.method import Method
from medsemi.methods.supervised import Supervised
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import FrequencyViews
from medsemi.seeds import derive_generator

METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "supervised": Supervised,
    "supervised squared": lambda network: Supervised(network, dice="squared"),
    "pretraining": CopyPastePretraining,
    "pretraining regions": lambda network: CopyPastePretraining(network, loss="regions"),
    "bcp": BCP,
    "bcp cardiac": lambda network: BCP(network, dice="squared", ema_buffers="average"),
    "bcp one pass": lambda network: BCP(
        network, student_passes=1, teacher_passes=1, teacher_mode="eval", component_filter=False
    ),
    "random views": RandomViewPretraining,
    "cfcnet": lambda network: CFCNet(network, mix=UCFMix(blocks=2)),
    "cfcnet canals": lambda network: CFCNet(
        network,
        views=FrequencyViews(levels_high=2, moving_blocks=True),
        mix=UCFMix("fill", blocks=2),
        teacher_rule="two",
        rampup_steps=0,
    ),
    "cfcnet random": lambda network: CFCNet(
        network,
        views=FrequencyViews("fft"),
        mix=UCFMix("random", blocks=2, share=0.25),
        teacher_rule="alternate",
        rampup_steps=0,
        full_view_supervision=0.5,
    ),
    "cfcnet displaced": lambda network: CFCNet(
        network,
        views=FrequencyViews("gaussian"),
        mix=UCFMix("displaced", blocks=2, share=0.25),
        teacher_rule="low",
        rampup_steps=0,
        confidence=0.5,
    ),
}


def network_of(axes: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[axes]
    torch.manual_seed(0)
    layers = [conv(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, conv(4, classes, 1))


def batch_of(axes: int, classes: int, size: int = 4, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (size, 1, *(12, 10, 8)[:axes])
    image = torch.randn(shape, generator=generator)
    label = torch.randint(classes, (size, *shape[2:]), generator=generator).to(torch.uint8)
    other = torch.randn(shape, generator=generator)
    ids = tuple(str(i) for i in range(size))
    return Batch(Sub(image, label, ids), Sub(other, None, ids))


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

    Such a field may hold the entries of the labeled windows and, after them, of the unlabeled ones.
    """
    if isinstance(draws, tuple) and len(draws) in {len(order), 2 * len(order)}:
        both = order + [len(order) + i for i in order]
        return tuple(draws[i] for i in both[: len(draws)])
    if not dataclasses.is_dataclass(draws):
        return draws
    names = [field.name for field in dataclasses.fields(draws)]
    changed = {name: permuted(getattr(draws, name), order) for name in names}
    return dataclasses.replace(draws, **changed)


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


def test_3_and_5_teachers_take_no_gradient_and_move_after_the_step(make, dims) -> None:
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
        for parameter in teacher.parameters():
            values = torch.linspace(0.01, 0.02, parameter.numel()).view_as(parameter)
            torch.testing.assert_close(parameter.data, values)


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


def test_autocast_keeps_the_loss_in_float32(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    exact = loss_of(method, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_of(method, batch)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.1)


def test_training_lowers_the_loss(make, dims) -> None:
    method, batch = make(network_of(*dims)), batch_of(*dims)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.02)
    start = loss_of(method, batch).item()
    for step in range(15):
        optimizer.zero_grad()
        loss_of(method, batch).backward()
        optimizer.step()
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
