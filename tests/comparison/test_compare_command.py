"""scripts/compare.py as a user starts it: on phantoms, killed, continued, read back from MLflow."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medsemi.comparison.jobs import Arm, Plan
from medsemi.comparison.looks import read_looks
from medsemi.comparison.records import collect, read_records
from medsemi.comparison.stage_runs import Tracked
from medsemi.data.phantoms import make_phantoms

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "left_atrium_mri_bcp"


def command(data: Path, output: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "scripts" / "compare.py"), "--bundle", str(BUNDLE)),
        *("--dataset_dir", str(data), "--manifest", str(data / "manifest.json")),
        *("--output", str(output), "--methods", "fixmatch", "--seeds", "0"),
        *("--overlay", "demo", "--overlay", str(data / "tiny.yaml"), *options),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_phantoms(folder, count=8, shape=(32, 32, 32), labeled=2, validation=3, test=1)
    tiny = (
        "filters: 2\npretrain_steps: 3\ntrain_steps: 9\nval_interval: 6\ncheckpoint_interval: 2\n"
    )
    (folder / "tiny.yaml").write_text(tiny)
    return folder


def killed_in_training(line: list[str], output: Path) -> None:
    """Start and kill, with its children, once the first training has a checkpoint."""
    process = subprocess.Popen(line, env=environment(), start_new_session=True)
    try:
        while not list(output.glob("runs_*/seed_0/supervised/last.pt")):
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_comparison_that_was_killed_continues_and_gathers(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    killed_in_training(command(data, output), output)
    assert not (output / "report.md").exists()
    done = subprocess.run(
        command(data, output), env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Did the unlabeled data help?" in done.stdout
    records = {record.method: record for record in read_records([output / "records"])}
    assert {method: record.steps for method, record in records.items()} == {
        "supervised": 12, "fixmatch": 12
    }  # fmt: skip
    assert [point.step for point in records["fixmatch"].curve] == [6, 12]
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    # MLflow alone tells the same, to a machine that has no folders.
    manifest = data / "manifest.json"
    overlays = ("demo", str(data / "tiny.yaml"))
    plan = Plan(BUNDLE, data, manifest, output, ("fixmatch",), (0,), overlays)
    for folder in output.glob("runs_*"):
        shutil.rmtree(folder)
    record, evaluation = collect(plan, Arm("fixmatch", 0), Tracked(plan.tracking, plan.experiment))
    assert record.scores == records["fixmatch"].scores
    assert record.curve == records["fixmatch"].curve
    assert set(evaluation.pictures) == {"best", "median", "worst"}


@pytest.mark.slow
def test_shards_at_work_on_one_output_score_the_test_list_and_tell_of_it(
    data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    look = ("--test", "--reason", "final table")
    shards = [
        subprocess.Popen(
            command(data, output, *look, "--shard", part),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in ("0/2", "1/2")
    ]
    told = [shard.communicate() for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], told[0][1][-2000:] + told[1][1][-2000:]
    records = {record.method: record for record in read_records([output / "records"])}
    assert set(records) == {"supervised", "fixmatch"}
    for record in records.values():
        assert set(record.scores) == {"test"}
    assert {look.methods for look in read_looks(output)} == {("supervised",), ("fixmatch",)}
    main = runpy.run_path(str(ROOT / "scripts" / "compare.py"))["main"]
    assert main([*command(data, output, "--test", "--report")[2:]]) == 0
    text = (output / "report.md").read_text()
    assert "test, 1 cases" in text
    assert text.count("final table") == 2
    assert "Not finished" not in text


def test_wrong_input_is_one_sentence(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "compare.py"))["main"]
    unscored = tmp_path / "unscored.json"
    document = json.loads((data / "manifest.json").read_text())
    unscored.write_text(json.dumps({**document, "validation": []}))
    for options, words in (
        (("--methods", "fixmath"), "did you mean fixmatch"),
        (("--seeds", "one"), "--seeds is 'one'"),
        (("--budget", "hours"), "--budget is 'hours'"),
        (("--overlay", "nothing"), "does not exist"),
        (("--records", str(tmp_path / "no")), "is no folder"),
        (("--records", str(data / "images")), "holds no record"),
        (("--manifest", str(unscored)), "lists no validation case to score"),
    ):
        assert main([*command(data, tmp_path)[2:], *options, "--report"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("report", [(), ("--report",)])
def test_a_comparison_with_other_overlays_leaves_the_first_one_as_it_is(
    report: tuple[str, ...], arms, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "compare.py"))["main"]
    overlays = ("demo", str(data / "tiny.yaml"))
    plan = Plan(BUNDLE, data, data / "manifest.json", tmp_path, ("fixmatch",), (0,), overlays)
    arms.a_record(plan, "fixmatch", 0, 0.8).save(tmp_path / "records")
    (tmp_path / "report.md").write_text("of the first one")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wider = tmp_path.with_suffix(".yaml")
    wider.write_text("filters: 4\n")
    assert main([*command(data, tmp_path)[2:], "--overlay", str(wider), *report]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"{tmp_path / 'records' / 'fixmatch-0.json'} is of another comparison (another manifest, bundle or"
        " overlay); give another --output, or what that comparison was given."
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("look", [(), ("--test", "--reason", "final table")])
def test_an_output_that_cannot_be_written_is_one_sentence(
    look: tuple[str, ...], tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "compare.py"))["main"]
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", Path("/proc")):  # where not even root can write
        assert main([*command(data, output)[2:], *look]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{output}: cannot be written (")
