"""The guard in this process, and in real runs of `python -m monai.bundle`."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from medsemi.bundle import guard
from medsemi.data.held_out import keep_trained_cases
from medsemi.data.manifest import load_manifest
from medsemi.data.phantoms import make_phantoms
from medsemi.errors import CheckpointError, ConfigError, DataError, ManifestError
from medsemi.training.provenance import WAITING_CONFIG

CONFIG = """
imports: [$from medsemi.bundle.guard import check_run, $import trial]
seed: 1
output_dir: out
initialize: [$check_run(), $print('built')]
run: ["$trial.work(@seed, @output_dir)"]
"""
TRIAL = """
from medsemi.errors import DataError

def work(seed, output_dir):
    if seed == 13:
        raise DataError(f"{output_dir}: is empty; choose another.")
    print("worked with", seed)
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.yaml").write_text(CONFIG)
    (tmp_path / "trial.py").write_text(TRIAL)
    return tmp_path


@pytest.fixture
def restored() -> Iterator[None]:
    """Undo what `report_errors` installs."""
    hook, handlers = sys.excepthook, [*logging.getLogger().handlers, logging.lastResort]
    with warnings.catch_warnings():
        yield
    sys.excepthook = hook
    for handler in handlers:
        if handler is not None:
            handler.removeFilter(guard._is_news)


def run_bundle(
    folder: Path, *arguments: str, name: str = "run"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", name, "--config_file", "configs/train.yaml"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), root))}
    environment.pop("MEDSEMI_DEBUG", None)
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_sound_run(bundle: Path) -> None:
    done = run_bundle(bundle, "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "worked with 3" in done.stdout


def test_mistyped_override_stops_before_anything_is_built(bundle: Path) -> None:
    done = run_bundle(bundle, "--sede", "3")
    assert done.returncode == 2
    assert "did you mean `seed`?" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "built" not in done.stdout


def test_a_workflow_is_a_run_by_another_name(bundle: Path) -> None:
    kept = "initialize: [$check_run(), $save_config('out')]"
    imported = "imports: [$from medsemi.bundle.guard import save_config, "
    text = CONFIG.replace("initialize: [$check_run(), $print('built')]", kept)
    (bundle / "configs/train.yaml").write_text(text.replace("imports: [", imported))
    kind = ("--workflow_type", "train")
    done = run_bundle(bundle, "--seed", "3", *kind, name="run_workflow")
    assert done.returncode == 0, done.stderr
    assert "worked with 3" in done.stdout
    assert json.loads((bundle / "out" / "config.json").read_text())["seed"] == 3


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["run_workflow", "run-workflow"])
def test_a_mistyped_override_stops_a_workflow_too(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    start_as(monkeypatch, bundle, name, "--config_file=configs/train.yaml", "--sede", "3")
    with pytest.raises(SystemExit):
        guard.check_run()
    assert "did you mean `seed`?" in capsys.readouterr().err


@pytest.mark.usefixtures("restored")
def test_steps_below_zero_are_refused_where_their_sum_is_not(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = "train_steps: 5\npretrain_steps: 9\n"
    told = "finalize: [$print(@train_steps + @pretrain_steps)]\n"
    (bundle / "configs/train.yaml").write_text(CONFIG + steps + told)
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--train_steps", "-3")
    with pytest.raises(SystemExit):
        guard.check_run()
    assert capsys.readouterr().err == "train_steps is -3; give 0 or more.\n"


@pytest.mark.usefixtures("restored")
def test_a_preparation_that_no_prediction_takes_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "configs/train.yaml").write_text(
        f"{CONFIG}spacing: null\npreparation: {{spacing: '@spacing'}}\n"
    )
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--spacing", "2.0")
    with pytest.raises(SystemExit):
        guard.check_run()
    told = "'spacing' is 2.0; it needs three lengths above 0, in mm, or null.\n"
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("restored")
def test_a_gpu_that_is_not_here_is_told_by_every_run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = "device: $'cpu'\nfinalize: [$print(@device)]\n"
    (bundle / "configs/train.yaml").write_text(CONFIG + named)
    line = ("run", "--config_file=configs/train.yaml", "--device")
    start_as(monkeypatch, bundle, *line, "cpu")
    guard.check_run()
    start_as(monkeypatch, bundle, *line, "cuda:99")
    with pytest.raises(SystemExit):
        guard.check_run()
    assert capsys.readouterr().err.startswith("device is 'cuda:99'; take cpu")


@pytest.mark.usefixtures("restored")
def test_a_copy_that_names_the_original_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = "bundle_root: bundles/original\nfinalize: [$print(@bundle_root)]\n"
    (bundle / "configs/train.yaml").write_text(CONFIG + named)
    (bundle / "configs/metadata.json").write_text("{}")
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml")
    with pytest.raises(SystemExit):
        guard.check_run()
    assert f": give --bundle_root {bundle}.\n" in capsys.readouterr().err
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--bundle_root=.")
    guard.check_run()


def test_error_for_people_ends_a_run_with_one_sentence(bundle: Path) -> None:
    done = run_bundle(bundle, "--seed=13")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == "out: is empty; choose another."
    assert "Traceback" not in done.stderr
    assert done.stderr.count("is empty") == 1


def start_as(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    program = str(Path("site-packages", "monai", "bundle", "__main__.py"))
    monkeypatch.setattr(sys, "argv", [program, *arguments])


def test_a_run_that_may_be_refused_leaves_the_configuration_of_the_earlier_one(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = bundle / "out"
    for seed in ("3", "4"):
        start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--seed", seed)
        guard.save_config(out)
        (out / "run.json").write_text("{}")
    seeds = [json.loads((out / n).read_text())["seed"] for n in ("config.json", WAITING_CONFIG)]
    assert seeds == [3, 4]


def test_a_password_is_kept_out_of_the_configuration(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = "$'sqlite:///' + os.path.abspath(@output_dir)"
    (bundle / "configs/train.yaml").write_text(
        f'{CONFIG}\ntracking_uri: mlflow.db\nstore: "{store}"\n'
    )
    address = "http://ann:se@cret@server:5000/x"
    start_as(
        monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--tracking_uri", address
    )
    guard.save_config(bundle / "out")
    saved = json.loads((bundle / "out/config.json").read_text())
    assert saved["tracking_uri"] == "http://server:5000/x"
    assert saved["store"] == store


SCORED = """
imports: [$import os]
output_dir: out
labeler: train
weights_dir: $os.path.join(@output_dir, @labeler)
spacing: 1
preprocessing: {_target_: builtins.dict, pixdim: '@spacing'}
run: ["$print(@weights_dir, @preprocessing)"]
"""


@pytest.fixture
def trained(bundle: Path) -> Path:
    """The weights of a training with another preparation."""
    folder = bundle / "out" / "train"
    folder.mkdir(parents=True)
    recorded = {
        "spacing": 2,
        "preprocessing": {"_target_": "builtins.dict", "pixdim": "@spacing"},
    }
    (folder / "config.json").write_text(json.dumps(recorded))
    (folder / "model.pt").touch()
    (bundle / "configs/train.yaml").write_text(SCORED)
    return folder


@pytest.mark.parametrize("labeler", ["train", "supervised"])
def test_the_weights_of_a_workflow_that_does_not_pass_them_are_found(
    bundle: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, labeler: str
) -> None:
    """A labeling says in its configuration alone whose weights it takes."""
    trained.rename(trained.with_name(labeler))
    line = ("run", "--config_file=configs/train.yaml", "--labeler", labeler)
    start_as(monkeypatch, bundle, *line)
    with pytest.raises(CheckpointError, match="spacing was 2, is 1"):
        guard.save_config(bundle / "labels")
    assert not (bundle / "labels").exists()
    start_as(monkeypatch, bundle, *line, "--spacing", "2")
    guard.save_config(bundle / "labels")
    assert (bundle / "labels" / "config.json").is_file()


def test_scores_of_a_training_that_left_no_weights_are_refused_before_a_case_is_opened(
    bundle: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml", "--spacing", "2")
    with pytest.raises(CheckpointError, match="out/train holds no exported network"):
        guard.save_config(bundle / "scores", trained)  # model.pt is a second name of another one
    assert not (bundle / "scores").exists()
    (trained / "student.pt").touch()
    guard.save_config(bundle / "scores", trained)
    assert (bundle / "scores" / "config.json").is_file()


FOLLOWING = """
imports: [$import os, $from medsemi.data.manifest import load_manifest]
dataset_dir: data
manifest: data/manifest.json
output_dir: out
split: $load_manifest(@manifest)
initial_weights: $os.path.join(@output_dir, 'pretrain', 'model.pt')
second_weights: null
run: ["$print(@split, @dataset_dir, @initial_weights, @second_weights)"]
"""


@pytest.mark.parametrize("key", ["initial_weights", "second_weights"])
def test_a_training_whose_start_learned_from_a_case_of_its_validation_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    make_phantoms(bundle / "data", count=3, shape=(16, 16, 16), labeled=1, validation=1, test=0)
    (bundle / "configs/train.yaml").write_text(FOLLOWING)
    validation = load_manifest(bundle / "data/manifest.json").validation[0].case_id
    keep_trained_cases(bundle / "other/pretrain", {"labeled": [validation], "unlabeled": []})
    line = ("run", "--config_file=configs/train.yaml")
    start_as(monkeypatch, bundle, *line, f"--{key}", "other/pretrain/model.pt")
    with pytest.raises(ManifestError, match=r"was labeled.* in the training .*other/pretrain"):
        guard.save_config(bundle / "out" / "train")
    assert not (bundle / "out").exists()
    start_as(monkeypatch, bundle, *line)
    guard.save_config(bundle / "out" / "train")
    assert (bundle / "out" / "train" / "config.json").is_file()


def test_weights_that_a_method_does_not_start_from_are_not_looked_at(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_phantoms(bundle / "data", count=3, shape=(16, 16, 16), labeled=1, validation=1, test=0)
    validation = load_manifest(bundle / "data/manifest.json").validation[0].case_id
    keep_trained_cases(bundle / "other/pretrain", {"labeled": [validation], "unlabeled": []})
    line = (
        "run",
        "--config_file=configs/train.yaml",
        "--initial_weights",
        "other/pretrain/model.pt",
    )
    for pretrained in (True, False):
        (bundle / "configs/train.yaml").write_text(FOLLOWING + f"pretrained: ${pretrained}\n")
        start_as(monkeypatch, bundle, *line)
        with pytest.raises(ManifestError) if pretrained else nullcontext():
            guard.save_config(bundle / "out" / "train")


def test_images_are_prepared_as_those_of_the_training(
    bundle: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("run", "--config_file=configs/train.yaml")
    start_as(monkeypatch, bundle, *line)
    with pytest.raises(CheckpointError, match="spacing was 2, is 1"):
        guard.check_weights(trained / "model.pt")
    (bundle / "elsewhere").mkdir()
    (bundle / "elsewhere" / "model.pt").touch()
    guard.check_weights(bundle / "elsewhere" / "model.pt")
    start_as(monkeypatch, bundle, *line, "--spacing", "2")
    guard.check_weights(trained / "model.pt")


def test_weights_of_the_bundle_that_is_run_belong_to_its_configuration(
    bundle: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training writes the values that it had into the bundle that it leaves."""
    for name in ("configs", "trial.py"):
        (trained / "bundle").mkdir(exist_ok=True)
        (bundle / name).rename(trained / "bundle" / name)
    (trained / "bundle" / "models").mkdir()
    (trained / "bundle" / "models" / "model.pt").touch()
    start_as(monkeypatch, trained / "bundle", "run", "--config_file=configs/train.yaml")
    guard.check_weights("models/model.pt")


def test_weights_that_are_not_there_are_told_with_what_names_others(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_as(monkeypatch, bundle, "run", "--config_file=configs/train.yaml")
    told = r"^models/model\.pt does not exist: give .* the --bundle_root of a bundle"
    with pytest.raises(CheckpointError, match=told):
        guard.check_weights("models/model.pt")


@pytest.mark.usefixtures("restored")
def test_unused_key_stops_a_run(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bundle / "configs/train.yaml"
    start_as(monkeypatch, bundle, "run", "--config_file", "configs/train.yaml")
    guard.check_run()
    config.write_text(CONFIG + "initialise: [$1]\n")
    with pytest.raises(SystemExit) as stop:
        guard.check_run()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert "`initialize`" in error
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        guard.check_run()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("restored")
def test_silent_where_monai_did_not_start_the_process(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = sys.excepthook
    monkeypatch.setattr(sys, "argv", ["pytest", "run", "--config_file", "none.yaml"])
    guard.check_run()
    assert sys.excepthook is hook
    start_as(monkeypatch, bundle, "ckpt_export", "network_def")
    guard.check_run()
    assert sys.excepthook is not hook


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        (["--a#b", "3"], {"a#b": 3}),
        (["--a::b=1e-3"], {"a::b": 0.001}),
        (["--s-t", "x"], {"s_t": "x"}),
        (["--flag"], {"flag": True}),
        (["--normalize"], {"rmalize": False}),
        (["--a", "true"], {"a": "true"}),
        (["--a", "None"], {"a": "None"}),
        (["--a", "[x,1]"], {"a": ["x", 1]}),
        (["--tracking", "mlflow", "--logging_file", "False"], {}),
        (["--+a", "[1]"], {"+a": [1]}),
    ],
)
def test_overrides_are_read_as_fire_reads_them(
    arguments: list[str], overrides: dict[str, object]
) -> None:
    assert guard.read_command(arguments).overrides == overrides


def test_flags_of_the_command() -> None:
    arguments = ["--config_file", "['a.yaml','b.yaml']", "--init_id", "start", "--meta_file", "m"]
    command = guard.read_command(["train_it", *arguments])
    assert command.config_files == (Path("a.yaml"), Path("b.yaml"))
    assert command.roots == ("start", "train_it", "finalize")
    assert command.meta_file == Path("m")


def test_flags_of_a_workflow(tmp_path: Path) -> None:
    flags = ["--workflow_name", "ConfigWorkflow", "--workflow_type", "train", "--run_id", "start"]
    command = guard.read_command(["--config_file", "a.yaml", *flags, "--lr", "3"], "run_workflow")
    assert command.config_files == (Path("a.yaml"),)
    assert command.roots == ("initialize", "start", "finalize")
    assert command.overrides == {"lr": 3}
    file = tmp_path / "args.yaml"
    file.write_text("config_file: a.yaml\nseed: 1\n")
    command = guard.read_command(["ConfigWorkflow", str(file), "--lr", "3"], "run_workflow")
    assert command.overrides == {"seed": 1, "lr": 3}


def test_args_file_counts_where_the_command_line_is_silent(tmp_path: Path) -> None:
    file = tmp_path / "args.yaml"
    file.write_text("config_file: a.yaml\nseed: 1\nlr: 2\n")
    command = guard.read_command(["--args_file", str(file), "--lr", "3"])
    assert command.config_files == (Path("a.yaml"),)
    assert command.overrides == {"seed": 1, "lr": 3}
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        guard.read_command(["--args_file", str(tmp_path / "none.yaml")])


def raised(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (raised(RuntimeError("Failed to evaluate"), DataError("a: bad.")), 2, "a: bad.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (
            DataError("Caught DataError in DataLoader worker process 0.\nOriginal Traceback "
                      "(most recent call last):\nmedsemi.errors.DataError: b: bad.\n"),
            2,
            "b: bad.\n",
        ),
    ],
)  # fmt: skip
def test_report_of_errors(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        guard._report(type(error), error, None)
    assert stop.value.code == code
    assert capsys.readouterr().err == text


def test_other_errors_keep_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = raised(RuntimeError("outer"), ZeroDivisionError("inner"))
    guard._report(RuntimeError, error, None)
    assert "ZeroDivisionError: inner" in capsys.readouterr().err


@pytest.mark.usefixtures("restored")
def test_debug_leaves_all_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = sys.excepthook
    monkeypatch.setenv("MEDSEMI_DEBUG", "1")
    guard.report_errors()
    assert sys.excepthook is hook


@pytest.mark.usefixtures("restored")
def test_exceptions_are_not_logged_twice() -> None:
    guard.report_errors()
    guard.report_errors()
    assert logging.lastResort is not None
    assert logging.lastResort.filters.count(guard._is_news) == 1
    texts = ["Engine run is terminating due to exception: x", "Epoch 1"]
    records = [
        logging.LogRecord("ignite", logging.ERROR, "", 0, text, None, None) for text in texts
    ]
    assert [guard._is_news(record) for record in records] == [False, True]
