"""Stage 0 of CFC-Net, and both stages as trainings."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.methods.cfcnet import CFCNet, PretrainingDraws, RandomViewPretraining
from medsemi.methods.method import Method
from medsemi.parts.foreground_loss import foreground_loss
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import ViewDraw
from medsemi.training.checkpoint import load_weights
from medsemi.training.trainer import SemiSupervisedTrainer

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_cfcnet.py"))))
network, batch, students = SMALL.network, SMALL.batch, SMALL.students


class Echo(nn.Module):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        self.seen = image
        return torch.cat([image, -image, 0 * image], 1) * self.scale


def test_stage_0_shows_each_window_as_it_was_drawn() -> None:
    given = batch(labeled=3)
    pretraining = RandomViewPretraining(Echo())
    views = ViewDraw((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (0, 0, 0))
    terms = pretraining(given, PretrainingDraws(views, (1, 0, 2)), 0)
    low, high = pretraining.views.apply(given.labeled.image, views)
    seen = pretraining.student.seen
    assert torch.equal(seen[0], low[0])
    assert torch.equal(seen[1], given.labeled.image[1])
    assert torch.equal(seen[2], high[2])
    expected = foreground_loss(pretraining.student(seen), given.labeled.label)
    torch.testing.assert_close(terms.total, expected)


def test_stage_0_draws_all_three_alike() -> None:
    pretraining, given = RandomViewPretraining(Echo()), batch(labeled=3)
    generator = torch.Generator().manual_seed(0)
    choices = [c for _ in range(200) for c in pretraining.draw(given, generator).choice]
    assert all(170 < choices.count(c) < 230 for c in (0, 1, 2))


def test_the_weights_of_stage_0_start_all_three() -> None:
    pretraining = RandomViewPretraining(network(5))
    start = network(6)
    start.load_state_dict(pretraining.inference_network.state_dict())
    net = CFCNet(start, rampup_steps=12_000)
    image = batch().unlabeled.image
    expected = pretraining.student(image)
    for copied in (*students(net), net.teacher):
        assert torch.equal(copied(image), expected)


class Windows:
    """A stream of random windows, pure in the step."""

    seed, rank, world_size = 3, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image, other = torch.rand(2, 2, 1, *SMALL.SPACE, generator=generator)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


def trained(folder: Path, method: Method, steps: int) -> SemiSupervisedTrainer:
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    trainer = SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=optimizer, stream=Windows(), steps=steps,
        output_dir=folder, settings={}, checkpoint_interval=2,
    )  # fmt: skip
    trainer.run()
    return trainer


def test_both_stages_train_and_a_stopped_one_ends_with_the_same_bits(tmp_path: Path) -> None:
    trained(tmp_path / "pretrain", RandomViewPretraining(network(dropout=0.2)), 3)

    def second() -> CFCNet:
        start = load_weights(network(seed=9, dropout=0.2), tmp_path / "pretrain" / "model.pt")
        return CFCNet(start, mix=UCFMix("random", blocks=2), rampup_steps=0)

    whole = trained(tmp_path / "whole", second(), 5)
    trained(tmp_path / "parts", second(), 3)
    trained(tmp_path / "parts", second(), 5)
    for name in ("student_low", "student_high", "teacher", "model"):
        one, other = (
            torch.load(tmp_path / run / f"{name}.pt", weights_only=True)
            for run in ("whole", "parts")
        )
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert "student_agreement" in whole.state.output
    deployed = load_weights(network(seed=8), tmp_path / "whole" / "model.pt")
    image = batch().unlabeled.image
    assert torch.equal(deployed.eval()(image), whole.method.teacher(image))
