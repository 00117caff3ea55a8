"""Trainings in this process: stopped, continued, refused."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn
from torch.nn import BatchNorm3d

from medsemi.batch import Batch
from medsemi.data.held_out import TRAINED
from medsemi.errors import CheckpointError, ConfigError, MedsemiError
from medsemi.methods.bcp import BCP
from medsemi.methods.method import LossTerms
from medsemi.methods.supervised import Supervised
from medsemi.training import checkpoint
from medsemi.training.checkpoint import load_weights, save_weights
from medsemi.training.exported import exported
from medsemi.training.history import History
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
Noise, toy, trainer, validation, weights, assert_equal = (
    SMALL.Noise,
    SMALL.toy,
    SMALL.trainer,
    SMALL.validation,
    SMALL.weights,
    SMALL.assert_equal,
)


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_stopped_training_ends_with_the_same_bits(
    tmp_path: Path, stop: int, stop_at: Callable[[int], object]
) -> None:
    trainer(tmp_path / "whole").run()
    with pytest.raises(OSError, match="no space left"):
        trainer(tmp_path / "parts", handlers=[stop_at(stop)]).run()
    assert not (tmp_path / "parts" / "model.pt").exists()
    trainer(tmp_path / "parts").run()
    for name in ("student", "teacher", "model"):
        assert_equal(
            weights(tmp_path / "whole" / f"{name}.pt"), weights(tmp_path / "parts" / f"{name}.pt")
        )


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    before = weights(tmp_path / "model.pt")
    (tmp_path / "model.pt").unlink()
    again = trainer(tmp_path)
    again.run()
    assert again.state.output is None
    assert_equal(before, weights(tmp_path / "model.pt"))


def test_other_settings_are_refused_with_the_keys(tmp_path: Path) -> None:
    trainer(tmp_path, settings={"seed": 1, "rate": 2}).run()
    with pytest.raises(CheckpointError, match=r"rate was 2, is 3"):
        trainer(tmp_path, settings={"seed": 1, "rate": 3}).run()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"PK half a file")
    with pytest.raises(CheckpointError, match=r"last\.pt cannot be read"):
        trainer(tmp_path).run()


def test_the_exported_weights_load_into_the_network(tmp_path: Path) -> None:
    method = BCP(toy())
    trainer(tmp_path, method=method).run()
    network = load_weights(toy(), tmp_path / "model.pt")
    assert_equal(dict(network.state_dict()), dict(method.student.state_dict()))


class Broken(Noise):
    """Windows with a voxel that is no number, from step 3 on."""

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        if step >= 3:
            batch.labeled.image[0, 0, 0, 0, 0] = float("nan")
        return batch


class BrokenGradient(Supervised):
    """A finite loss that leaves weights that are no number, as one of another rank may."""

    def after_step(self, step: int) -> None:
        if step >= 3:
            next(self.parameters()).data.fill_(float("nan"))


class Overflow:
    """Statistics that a forward in fp16 left, whose step was skipped: the next losses are finite."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.step), self._overflow)

    def _overflow(self, engine: SemiSupervisedTrainer) -> None:
        norm = next(m for m in engine.networks[self.name].modules() if isinstance(m, BatchNorm3d))
        norm.running_var.fill_(float("inf"))


def test_weights_that_are_no_number_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(MedsemiError, match="not a number at step 4"):
        trainer(tmp_path, method=BrokenGradient(toy())).run()
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["step"] == 2


@pytest.mark.parametrize("name", ["student", "average"])
def test_statistics_that_are_no_number_are_not_kept(tmp_path: Path, name: str) -> None:
    options = {"weight_average": 0.9, "handlers": [Overflow(name, 3)]}
    with pytest.raises(
        MedsemiError, match=r"not a number at step 4; .*last\.pt holds the last good"
    ):
        trainer(tmp_path, method=Supervised(toy()), **options).run()
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["step"] == 2


def test_before_the_first_checkpoint_no_good_state_is_promised(tmp_path: Path) -> None:
    with pytest.raises(MedsemiError, match=r"not a number at step 2; lower the learning rate\.$"):
        trainer(tmp_path, method=Supervised(toy()), handlers=[Overflow("student", 1)]).run()
    assert not (tmp_path / "last.pt").exists()


def test_a_checkpoint_of_another_network_or_number_of_processes_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, method=Supervised(toy())).run()
    with pytest.raises(CheckpointError, match="holds another network"):
        trainer(tmp_path, method=Supervised(nn.Conv3d(1, 2, 1))).run()
    both = trainer(tmp_path, method=Supervised(toy()))
    both.settings["world_size"] = 2
    with pytest.raises(CheckpointError, match="world_size was None, is 2"):
        both.run()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    run = trainer(tmp_path, method=Supervised(toy()))
    run.stream = Broken()
    with pytest.raises(MedsemiError, match="not a number at step 4"):
        run.run()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["step"] == 2
    assert all(v.isfinite().all() for v in state["method"].values() if v.is_floating_point())


def test_bf16_trains_and_keeps_float32_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=2, amp="bf16")
    run.run()
    assert run.state.output["loss"].dtype == torch.float32
    assert all(
        v.dtype == torch.float32
        for k, v in weights(tmp_path / "model.pt").items()
        if not k.endswith("tracked")
    )


@pytest.mark.parametrize(("amp", "dtype"), [("none", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_reaches_the_convolutions(
    tmp_path: Path, amp: str, dtype: torch.dtype
) -> None:
    network, seen = toy(), set()
    network[0].register_forward_hook(lambda _, given, result: seen.add(result.dtype))
    trainer(tmp_path, steps=1, method=Supervised(network), amp=amp).run()
    assert seen == {dtype}


class AfterSteps:
    """Calls a function with the trainer after each step and keeps what it returns."""

    def __init__(self, look: Callable[[SemiSupervisedTrainer], object]) -> None:
        self.look, self.seen = look, []

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: self.seen.append(self.look(engine))
        )


def test_each_step_has_its_own_learning_rate_and_reports_it(tmp_path: Path) -> None:
    used = AfterSteps(lambda engine: engine.optimizer.param_groups[0]["lr"])
    reported = AfterSteps(lambda engine: engine.state.output["learning_rate"].item())
    halved = {"learning_rate": lambda step: 0.5**step, "handlers": [used, reported]}
    trainer(tmp_path, steps=3, method=Supervised(toy()), **halved).run()
    assert used.seen == reported.seen == [1.0, 0.5, 0.25]


class Numbers(Supervised):
    """Keeps a number of each source: of its draws, of its networks, of changed intensities."""

    probability = 1.0

    def __init__(self) -> None:
        super().__init__(toy())
        self.seen: list[float] = []

    def draw(self, _: object, generator: torch.Generator) -> None:
        self.seen.append(torch.rand(1, generator=generator).item())

    def forward(self, batch: Batch, draws: None, step: int) -> LossTerms:
        self.seen.append(torch.rand(1).item())
        return super().forward(batch, draws, step)

    def apply(self, image: Tensor, _: None) -> Tensor:
        return image


def test_every_step_of_every_rank_has_its_own_numbers(tmp_path: Path) -> None:
    seen = []
    for rank in (0, 1):
        method = Numbers()
        run = trainer(tmp_path / str(rank), steps=2, method=method, intensity=method)
        run.stream.rank = rank
        run.run()
        seen += method.seen
    assert len(set(seen)) == len(seen) == 2 * 2 * 3


def test_the_average_of_the_deployed_weights_by_its_formula(tmp_path: Path) -> None:
    """At steps 0 and 1 a tenth and 2 of 11 would stay, of which the latter is more than asked for."""
    method, share = Supervised(toy()), 0.15

    def copied(network: nn.Module) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in network.parameters()]

    expected = copied(method.inference_network)
    students = AfterSteps(lambda engine: copied(engine.method.inference_network))
    averages = AfterSteps(lambda engine: copied(engine.average.network))
    handlers = [students, averages]
    trainer(tmp_path, steps=3, method=method, weight_average=share, handlers=handlers).run()
    for step, (student, average) in enumerate(zip(students.seen, averages.seen, strict=True)):
        stays = min((1 + step) / (10 + step), share)
        expected = [
            stays * old + (1 - stays) * new for old, new in zip(expected, student, strict=True)
        ]
        torch.testing.assert_close(average, expected)


def test_a_finished_training_whose_report_was_killed_reports_when_run_again(tmp_path: Path) -> None:
    """The tracker hears of start and end, with the weights in place and no step in between."""
    trainer(tmp_path).run()
    heard = []

    class Listener:
        def attach(self, engine: SemiSupervisedTrainer) -> None:
            engine.add_event_handler(Events.STARTED, lambda: heard.append("started"))
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: heard.append("step"))
            engine.add_event_handler(
                Events.COMPLETED, lambda: heard.append((tmp_path / "model.pt").exists())
            )

    (tmp_path / "model.pt").unlink()
    trainer(tmp_path, handlers=[Listener()]).run()
    assert heard == ["started", True]


def test_bf16_on_a_cpu_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer(tmp_path / "float32")
    assert "bf16" not in caplog.text
    trainer(tmp_path / "bf16", amp="bf16")
    assert "2x2x2 voxels" in caplog.text


@pytest.mark.parametrize(("amp", "word"), [("fp16", "CUDA"), ("fp8", "none, bf16, fp16")])
def test_precision_that_does_not_fit_is_refused(tmp_path: Path, amp: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        trainer(tmp_path, amp=amp)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("checkpoint_interval", 0),
        ("num_workers", -1),
        ("gradient_clip", -3.0),
        ("device", "tpu"),
        ("device", "cuda:99"),
    ],
)
def test_a_number_that_cannot_be_is_named(tmp_path: Path, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is '?{value}'?; (give|take)"):
        trainer(tmp_path, **{setting: value})


def test_a_named_gpu_is_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device) -> None:
        raise RuntimeError(f"taken: {device}")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    with pytest.raises(RuntimeError, match="taken: cuda:1"):
        trainer(tmp_path, device="cuda:1")


def test_what_a_checkpoint_stands_for_is_reported_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Score:
        """Validates after each third step, which is reported late."""

        def attach(self, engine: SemiSupervisedTrainer) -> None:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED(every=3),
                lambda: tracker.log({"val": 0.5}, engine.state.iteration),
            )

    tracker = Tracker(
        tmp_path, tracking_uri=str(tmp_path / "m.db"), experiment_name="e", run_name="r",
        stage="train", parameters={}, flush_every_seconds=1e9,
    )  # fmt: skip
    found = []
    save = checkpoint.save_checkpoint

    def look(path: Path, state: dict, settings: dict) -> None:
        rows = {(row.name, row.step) for row in History(tmp_path / "history.csv").read()}
        steps = range(1, state["step"] + 1)
        found.append(rows >= {("loss", step) for step in steps} | {("val", s) for s in steps[2::3]})
        save(path, state, settings)

    monkeypatch.setattr("medsemi.training.trainer.save_checkpoint", look)
    trainer(tmp_path, steps=6, handlers=[tracker, Score()], checkpoint_interval=3).run()
    assert found == [True] * 3  # the last step is saved once more at the end


def test_a_training_from_the_start_has_no_results_of_an_earlier_one(tmp_path: Path) -> None:
    left = [
        tmp_path / name
        for name in ("best.pt", "best.txt", "snapshot_2.pt", "validation/step_000900/cases.csv")
    ]

    def leave() -> None:
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0.9")

    leave()
    save_weights(tmp_path / "average.pt", toy())
    trainer(tmp_path, steps=1).run()
    assert not any(path.exists() for path in left)
    assert [path.stem for path in exported(tmp_path)] == ["student", "teacher"]
    assert (tmp_path / "earlier" / "average.pt").is_file()
    leave()
    trainer(tmp_path, steps=1).run()
    assert all(path.exists() for path in left)


def test_what_is_learned_from_is_written_at_the_start(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    assert json.loads((tmp_path / TRAINED).read_text()) == Noise.case_ids


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    method = Supervised(toy())
    before = [p.detach().clone() for p in method.parameters()]
    trainer(tmp_path, steps=1, method=method, gradient_clip=1e-3).run()
    moved = sum(((a - b) ** 2).sum() for a, b in zip(before, method.parameters(), strict=True))
    assert 0 < moved.sqrt() <= 0.1 * 1e-3 * 1.01
