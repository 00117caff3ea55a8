"""Real trainings: killed, continued, refused, and run by two processes."""

from __future__ import annotations

import copy
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.data.held_out import TRAINED
from medsemi.data.phantoms import make_phantoms
from medsemi.errors import CheckpointError, ConfigError, MedsemiError
from medsemi.evaluation.protocol import WindowInference
from medsemi.methods.bcp import BCP
from medsemi.methods.supervised import Supervised
from medsemi.networks.vnet import VNet
from medsemi.training import checkpoint
from medsemi.training.checkpoint import load_weights, save_weights
from medsemi.training.exported import exported
from medsemi.training.handlers import Validation
from medsemi.training.history import History
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer
from medsemi.training.window_fit import told_classes

SCRIPT = Path(__file__).with_name("train_phantoms.py")


class Noise:
    """A stream of random windows, pure in the step."""

    seed, rank, world_size = 3, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}
    window: ClassVar = (8, 8, 8)
    labeled: ClassVar = [SimpleNamespace(image=torch.zeros(1, *window), label=torch.ones(window))]

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(2, 1, 8, 8, 8, generator=generator)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        other = torch.rand(2, 1, 8, 8, 8, generator=generator)
        return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


def toy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.Dropout3d(0.2))


def trainer(
    folder: Path, steps: int = 6, method: nn.Module | None = None, **options: object
) -> SemiSupervisedTrainer:
    method = method or BCP(toy())
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    options = {"settings": {"steps": steps}, "device": "cpu", "checkpoint_interval": 2, **options}
    return SemiSupervisedTrainer(
        method=method,
        optimizer=optimizer,
        stream=Noise(),
        steps=steps,
        output_dir=folder,
        **options,
    )


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


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


def test_weights_that_are_no_number_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(MedsemiError, match="not a number at step 4"):
        trainer(tmp_path, method=BrokenGradient(toy())).run()
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["step"] == 2


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
    ],
)
def test_a_number_that_cannot_be_is_named(tmp_path: Path, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is '?{value}'?; (give|take)"):
        trainer(tmp_path, **{setting: value})


def test_a_window_that_does_not_fit_the_network_is_named(tmp_path: Path) -> None:
    method = Supervised(VNet(filters=2))
    with pytest.raises(ConfigError, match=r"window \[8, 8, 8\] .* network student, VNet .* of 16"):
        trainer(tmp_path, method=method).run()


class Small(Noise):
    """Windows of which the deepest stage of a V-Net has one voxel."""

    window: ClassVar = (16, 16, 16)
    labeled: ClassVar = [SimpleNamespace(image=torch.zeros(1, *window), label=torch.ones(window))]

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, step: int) -> Batch:
        image = torch.rand(self.count, 1, 16, 16, 16)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        ids = ("a", "b")[: self.count]
        return Batch(Sub(image, label, ids), Sub(image, None, ids))


@pytest.mark.parametrize(("norm", "count"), [("instance", 2), ("batch", 1)])
def test_a_window_that_leaves_a_norm_one_voxel_is_named(
    tmp_path: Path, norm: str, count: int
) -> None:
    started = trainer(tmp_path, method=Supervised(VNet(filters=2, norm=norm)))
    started.stream = Small(count)
    with pytest.raises(ConfigError, match=r"window \[16, 16, 16\] leaves the norm .* one voxel"):
        started.run()


def test_a_window_of_one_deep_voxel_is_enough_for_batch_norm_of_two(tmp_path: Path) -> None:
    started = trainer(tmp_path, steps=1, method=Supervised(VNet(filters=2)))
    started.stream = Small(2)
    started.run()


def test_an_error_of_another_value_stays_as_it_is(tmp_path: Path) -> None:
    class Broken(Supervised):
        def draw(self, batch: Batch, generator: torch.Generator) -> None:
            raise ValueError("broken")

    with pytest.raises(ValueError, match=r"^broken$"):
        trainer(tmp_path, method=Broken(toy())).run()


class ThreeClasses(Noise):
    """Labels with a value that a network with two outputs cannot tell."""

    labeled: ClassVar = [
        SimpleNamespace(image=torch.zeros(1, 8, 8, 8), label=torch.full((8, 8, 8), 2))
    ]

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        label = batch.labeled.label * 2
        return Batch(Sub(batch.labeled.image, label, ("a", "b")), batch.unlabeled)


def test_labels_that_the_network_cannot_tell_are_named(tmp_path: Path) -> None:
    started = trainer(tmp_path, method=Supervised(toy()))
    started.stream = ThreeClasses()
    with pytest.raises(ConfigError, match=r"student tells 2 classes.* the value 2; set its out_ch"):
        started.run()


def validation(folder: Path, classes: int = 2, **options: object) -> Validation:
    options = {"volumes": [], "interval": 1, "tracker": None, **options}
    return Validation(
        inference=WindowInference((8, 8, 8)), output_dir=folder,
        classes={value: str(value) for value in range(classes)}, **options,
    )  # fmt: skip


@pytest.mark.parametrize(("classes", "outputs"), [(3, 2), (1, 2)])
def test_networks_of_other_classes_are_refused_before_the_first_step(
    tmp_path: Path, classes: int, outputs: int
) -> None:
    started = trainer(tmp_path, handlers=[validation(tmp_path, classes)])
    words = (
        f"tells {outputs} classes and the manifest {classes}, .* set its out_channels to {classes}"
    )
    with pytest.raises(ConfigError, match=words):
        started.run()
    assert started.state.iteration == 0


def test_asking_for_the_classes_changes_no_bit(tmp_path: Path) -> None:
    trainer(tmp_path / "a").run()
    trainer(tmp_path / "b", handlers=[validation(tmp_path, 2)]).run()
    for name in ("student", "teacher"):
        assert_equal(*(weights(tmp_path / run / f"{name}.pt") for run in "ab"))
    network = toy().train()
    network[1].eval()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert told_classes(network, (1, 8, 8, 8), torch.device("cpu")) == 2
    assert [part.training for part in network] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal(network.state_dict(), before)


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


def test_an_error_that_is_not_the_window_stays_as_it_is(tmp_path: Path) -> None:
    class Broken(Supervised):
        def draw(self, batch: Batch, generator: torch.Generator) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match=r"^broken$"):
        trainer(tmp_path, method=Broken(toy())).run()


def test_a_named_gpu_is_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device) -> None:
        raise RuntimeError(f"taken: {device}")

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


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms(folder, count=8, shape=(24, 24, 24), labeled=2, validation=1, test=1)
    return folder


def start(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def reported(folder: Path) -> list[tuple[int, str, float]]:
    return sorted(row[:3] for row in History(folder / "history.csv").read())


@pytest.mark.slow
def test_kill_minus_nine_changes_no_bit(tmp_path: Path, phantoms: Path) -> None:
    """Killed twice at random moments, with and without workers; unlabeled labels do not exist."""
    for case in (phantoms / "labels").glob("*"):
        index = int(case.name.split("_")[1].split(".")[0])
        if 2 <= index < 6:
            case.unlink()
    assert start(phantoms, tmp_path / "whole", 30, 0).wait() == 0
    whole = reported(tmp_path / "whole")
    assert [step for step, name, _ in whole if name == "val"] == [3 * n for n in range(1, 11)]
    for workers in (0, 2):
        folder = tmp_path / f"killed{workers}"
        for _ in range(2):
            process = start(phantoms, folder, 30, workers, 0.2)
            seen = (folder / "last.pt").stat().st_mtime_ns if (folder / "last.pt").exists() else 0
            while not (folder / "last.pt").exists() or (
                (folder / "last.pt").stat().st_mtime_ns == seen
            ):
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(secrets.randbelow(1000) / 1000)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (folder / "model.pt").exists()
        assert start(phantoms, folder, 30, 2 - workers).wait() == 0
        assert reported(folder) == whole
        for name in ("student", "teacher", "model"):
            assert_equal(weights(tmp_path / "whole" / f"{name}.pt"), weights(folder / f"{name}.pt"))


@pytest.mark.slow
def test_two_ranks_end_with_equal_weights(tmp_path: Path, phantoms: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [start(phantoms, tmp_path / "run", 6, 0, RANK=str(r), **meeting) for r in (0, 1)]
    try:
        assert [process.wait(300) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    first, second = (weights(tmp_path / f"rank{r}.pt") for r in (0, 1))
    assert_equal(first, second)
    assert start(phantoms, tmp_path / "alone", 6, 0).wait() == 0
    alone = weights(tmp_path / "alone" / "student.pt")
    both = weights(tmp_path / "run" / "student.pt")
    assert any(not torch.equal(alone[key], both[key]) for key in alone)
