"""When a training is scored, and which weights are kept."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medsemi.data.volumes import Volume
from medsemi.methods.bcp import BCP
from medsemi.methods.supervised import Supervised

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
toy, trainer, validation, weights, assert_equal = (
    SMALL.toy,
    SMALL.trainer,
    SMALL.validation,
    SMALL.weights,
    SMALL.assert_equal,
)


class Scores:
    """Stands for the evaluation of a validation: the teacher's Dice is given, the student's is 1."""

    def __init__(self, *dice: float) -> None:
        self.dice, self.steps, self.shown = iter(dice), [], []

    def __call__(
        self, networks: dict[str, nn.Module], volumes: list, inference: object, classes: object,
        folder: Path, *_: object,
    ) -> dict[str, SimpleNamespace]:  # fmt: skip
        self.steps.append(int(folder.name.removeprefix("step_")))
        self.shown.append({n: copy.deepcopy(one.state_dict()) for n, one in networks.items()})
        return {"student": self.summary(1.0), "teacher": self.summary(next(self.dice))}

    def summary(self, dice: float) -> SimpleNamespace:
        metrics = {"dice": SimpleNamespace(mean=dice), "hd95_mm": SimpleNamespace(mean=None)}
        return SimpleNamespace(overall=SimpleNamespace(metrics=metrics, missed=0))


def validated(folder: Path, scores: Scores, steps: int, interval: int) -> None:
    """Train with validations that find these scores."""
    quiet = SimpleNamespace(log=lambda values, step: None)
    given = {"volumes": [object()], "interval": interval, "tracker": quiet, "pictures": 0}
    method = BCP(toy(), deploy="teacher", ema_decay=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medsemi.training.handlers.evaluate_cases", scores)
        trainer(folder, steps, method, handlers=[validation(folder, **given)]).run()


def test_the_best_deployed_weights_are_kept(tmp_path: Path) -> None:
    scores = Scores(0.4, 0.9, 0.7)
    validated(tmp_path, scores, steps=3, interval=1)
    best = weights(tmp_path / "best.pt")
    assert_equal(best, scores.shown[1]["teacher"])
    others = (scores.shown[0]["teacher"], scores.shown[1]["student"], scores.shown[2]["teacher"])
    assert all(any(not torch.equal(best[key], one[key]) for key in best) for one in others)
    assert float((tmp_path / "best.txt").read_text()) == 0.9


def test_the_last_step_is_validated_too(tmp_path: Path) -> None:
    scores = Scores(0.5, 0.5, 0.5)
    validated(tmp_path, scores, steps=5, interval=2)
    assert scores.steps == [2, 4, 5]


def test_pictures_leave_each_network_in_its_mode(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", generator.random((1, 8, 8, 8), np.float32))
    np.save(tmp_path / "label.npy", np.zeros((8, 8, 8), np.uint8))
    case = Volume("case", tmp_path / "image.npy", tmp_path / "label.npy", np.eye(4))
    quiet = SimpleNamespace(log_file=lambda *_: None)
    network, teacher = toy().train(), toy().eval()
    given = {"volumes": [case], "interval": 1, "tracker": quiet, "pictures": 1}
    drawing = validation(tmp_path, **given)
    how = torch.device("cpu"), None
    drawing._draw({"student": network, "teacher": teacher}, 1, *how)
    assert list((tmp_path / "overlays").glob("case_step_*.png"))
    assert all(module.training for module in network.modules())
    assert not any(module.training for module in teacher.modules())


def test_pictures_show_the_labels_that_were_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The organ wins by less than bf16 can tell, so that it is there in float32 alone."""
    np.save(tmp_path / "image.npy", np.ones((1, 8, 8, 8), np.float32))
    np.save(tmp_path / "label.npy", np.ones((8, 8, 8), np.uint8))
    case = Volume("case", tmp_path / "image.npy", tmp_path / "label.npy", np.eye(4))
    network = nn.Conv3d(1, 2, 1, bias=False)
    network.weight.data = torch.tensor([1.0, 1.001]).view(2, 1, 1, 1, 1)
    drawn: list[float] = []

    def draw(_: Path, __: Volume, labels: dict[str, np.ndarray], ___: str) -> None:
        drawn.append(labels["student"].mean())

    monkeypatch.setattr("medsemi.training.handlers.draw_overlay", draw)
    quiet = SimpleNamespace(log=lambda *_: None, log_file=lambda *_: None)
    for amp in ("none", "bf16"):
        given = {"volumes": [case], "interval": 1, "tracker": quiet}
        options = {"learning_rate": lambda _: 0.0, "amp": amp}
        handlers = [validation(tmp_path / amp, **given)]
        trainer(tmp_path / amp, 1, Supervised(network), handlers=handlers, **options).run()
        summary = json.loads((tmp_path / amp / "validation/step_000001/summary.json").read_text())
        scored = summary["networks"]["student"]["overall"]["metrics"]["dice"]["mean"]
        assert drawn.pop() == scored == (amp == "none")
