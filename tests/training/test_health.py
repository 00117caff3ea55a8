"""A broken teacher is told, a sound one is not; every exported network is scored."""

from __future__ import annotations

import copy
import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.data.volumes import Volume
from medsemi.errors import CheckpointError
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.cfcnet import CFCNet
from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import FrequencyViews, OnView
from medsemi.training.checkpoint import save_weights
from medsemi.training.exported import load_exported
from medsemi.training.handlers import Validation
from medsemi.training.health import teacher_gap
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer

SPACE = (8, 8, 8)


def test_the_gap_is_that_to_the_better_student() -> None:
    students = {"student_low": 0.5, "student_high": 0.75, "students": 0.875}
    assert teacher_gap({**students, "teacher": 0.625}) == 0.125
    assert teacher_gap({"student": 0.5, "teacher_a": 0.25, "teachers": 0.75}) == -0.25
    assert teacher_gap({"student": 0.5}) is None
    assert teacher_gap({"student_a": 0.5, "both": 0.1}) is None


def window(seed: int) -> tuple[Tensor, Tensor]:
    """A bright half on a dark ground, and where it is."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(SPACE, dtype=torch.uint8)
    label[: int(torch.randint(3, 6, (1,), generator=generator))] = 1
    return (2.0 * label - 1.0 + 0.1 * torch.randn(SPACE, generator=generator))[None], label


class Halves:
    """Windows with a bright half."""

    seed, rank, world_size = 0, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}
    window: ClassVar = SPACE
    labeled: ClassVar = [SimpleNamespace(image=np.zeros((1, *SPACE)), label=np.ones(SPACE))]

    def __getitem__(self, step: int) -> Batch:
        (image, label), (other, _) = window(2 * step), window(2 * step + 1)
        return Batch(Sub(image[None], label[None], ("a",)), Sub(other[None], None, ("b",)))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, 8, 1), nn.Tanh(), nn.Conv3d(8, 2, 1))


def volume(folder: Path) -> Volume:
    image, label = window(99)
    np.save(folder / "image.npy", image.numpy())
    np.save(folder / "label.npy", label.numpy())
    return Volume("case", folder / "image.npy", folder / "label.npy", np.eye(4))


def train(folder: Path, method: CFCNet) -> dict[str, list[float]]:
    """Train with two validations; returns what was reported, by name."""
    tracker = Tracker(
        folder, tracking_uri=str(folder / "mlflow.db"), experiment_name="health", run_name="one",
        stage="train", parameters={},
    )  # fmt: skip
    tracker.start = lambda *_: folder.mkdir(exist_ok=True)  # nothing is sent
    validation = Validation(
        volumes=[volume(folder)], inference=WindowInference(SPACE, SPACE), interval=20,
        classes={0: "background", 1: "half"}, tracker=tracker, output_dir=folder, pictures=0,
    )  # fmt: skip
    students = [p for p in method.parameters() if p.requires_grad]
    SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=torch.optim.Adam(students, lr=0.05),
        stream=Halves(), steps=40, output_dir=folder, settings={}, handlers=[tracker, validation],
    ).run()  # fmt: skip
    reported: dict[str, list[float]] = {}
    with (folder / "history.csv").open() as file:
        for row in csv.DictReader(file):
            reported.setdefault(row["name"], []).append(float(row["value"]))
    return reported


def method(other: nn.Module | None = None) -> CFCNet:
    # Both views are the plain window: in a high view the inside of a half is not bright.
    views = FrequencyViews(
        alpha_range=(1.0, 1.0), beta_range=(1.0, 1.0), alpha=1.0, beta=1.0, standardize=False
    )
    return CFCNet(
        network(0), other, views=views, mix=UCFMix(blocks=2), rampup_steps=30, ema_decay=0.9,
        teacher_rule="mean" if other is None else "low",
    )  # fmt: skip


def test_a_sound_teacher_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reported = train(tmp_path, method())
    assert reported["val/dice_teacher"][-1] > 0.9
    assert len(reported["val/dice_student_low"]) == len(reported["val/dice_student_high"]) == 2
    assert reported["teacher_collapsed"] == [0.0, 0.0]
    assert "teacher_collapsed" not in caplog.text


def test_a_broken_teacher_is_warned_of_once_after_the_ramp(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = method(mirrored(network(0)))
    broken.teacher_rule = "mean"  # refused at construction: the students differ
    with caplog.at_level(logging.WARNING):
        reported = train(tmp_path, broken)
    assert min(reported["val/dice_student_low"][-1], reported["val/dice_student_high"][-1]) > 0.9
    assert reported["val/teacher_gap"][-1] > 0.05
    assert reported["teacher_collapsed"] == [0.0, 1.0]  # the ramp ends between the validations
    warnings = [r.getMessage() for r in caplog.records if "teacher_collapsed" in r.getMessage()]
    assert len(warnings) == 1
    assert "after step 40" in warnings[0]


@pytest.mark.parametrize(
    ("step", "gap", "collapsed"), [(30, 0.06, 1.0), (29, 0.06, 0.0), (30, 0.04, 0.0)]
)
def test_a_teacher_is_judged_from_the_end_of_warm_up_and_ramp(
    tmp_path: Path, step: int, gap: float, collapsed: float
) -> None:
    reported = {}
    validation = Validation(
        volumes=[], inference=WindowInference(SPACE), classes={}, interval=1, output_dir=tmp_path,
        tracker=SimpleNamespace(log=lambda values, step: reported.update(values)),
    )  # fmt: skip
    method = SimpleNamespace(warmup_steps=10, rampup_steps=20)
    validation._watch_teacher({"student": 0.8, "teacher": 0.8 - gap}, method, step)
    assert reported["teacher_collapsed"] == collapsed


def mirrored(net: nn.Module) -> nn.Module:
    """The same function by other weights: every hidden unit has the opposite sign."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for weights in (net[0].weight, net[0].bias, net[2].weight):
            weights.neg_()
    return net


def test_all_that_was_exported_is_loaded_each_with_its_architecture(tmp_path: Path) -> None:
    single, views = network(0), FrequencyViews()
    seeing = OnView(network(1), views, "low")
    pair = NetworkPair(network(2), network(3))
    students = NetworkPair(seeing, OnView(network(4), views, "high"))
    all_of_them = {
        "average": students,
        "student": single,
        "student_low": seeing,
        "students": students,
        "teachers": pair,
    }
    for name, exported in all_of_them.items():
        save_weights(tmp_path / f"{name}.pt", exported)
    save_weights(tmp_path / "model.pt", pair)
    torch.save({"step": 3}, tmp_path / "last.pt")
    low, high = (OnView(network(9), views, band) for band in ("low", "high"))
    special = {"student_low": low, "students": NetworkPair(copy.deepcopy(low), high)}
    loaded = load_exported(tmp_path, network(9), special, "cpu")
    assert list(loaded) == list(all_of_them)
    image = window(0)[0][None]
    for mine, exported in zip(loaded.values(), all_of_them.values(), strict=True):
        torch.testing.assert_close(mine(image), exported(image))
    assert not torch.allclose(loaded["student_low"](image), seeing.network(image))


def test_nothing_exported_is_told(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="finish the training first"):
        load_exported(tmp_path, network(0), {}, "cpu")
