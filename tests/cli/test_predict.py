"""The command line of predict: options, help, and what stands on the screen."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pty
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medsemi.cli.predict import add_parser, options_of, run
from medsemi.cli.progress import make_console
from medsemi.data.writing import write_nifti
from medsemi.prediction import stages as stages_module
from medsemi.prediction.options import Options

FAKE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "prediction" / "fake_run.py"))
)
NEEDED = ["predict", "in", "--model", "m", "--out", "o"]
HELP = """
import argparse, json, resource, sys
from medsemi.cli import predict
parser = argparse.ArgumentParser(prog="medsemi")
predict.add_parser(parser.add_subparsers())
try:
    parser.parse_args(["predict", "--help"])
except SystemExit:
    use = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"seconds": use.ru_utime + use.ru_stime, "modules": sorted(sys.modules)}
    print(json.dumps(facts), file=sys.stderr)
"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="medsemi")
    add_parser(parser.add_subparsers())
    return parser.parse_args([*NEEDED, *words])


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    model = FAKE.write_model(tmp_path / "bundle")
    inputs = FAKE.write_inputs(tmp_path / "in", 2)
    (inputs / "bad.json").write_text(json.dumps({"outcome": "refuse", "findings": ["R02"]}))
    return [str(inputs), "--model", str(model), "--out", str(tmp_path / "out")]


def test_without_options_the_defaults_hold() -> None:
    given = parse()
    assert options_of(given) == Options()
    assert (given.inputs, given.model, given.out) == ([Path("in")], Path("m"), Path("o"))
    assert given.run is run


def test_every_option_arrives() -> None:
    given = parse(
        *("--series", "1.2#3", "--gaps", "fill", "--tilt", "refuse", "--outputs", "preview,nifti"),
        *("--device", "cuda:1", "--overlap", "0.25", "--workers", "8", "--overwrite", "never"),
        *("--names", "hash", "--strict", "--shard", "3/8"),
    )
    assert options_of(given) == Options(
        series="1.2#3",
        gaps="fill",
        tilt="refuse",
        outputs=("nifti", "preview"),
        device="cuda:1",
        overlap=0.25,
        workers=8,
        overwrite="never",
        names="hash",
        strict=True,
        shard=(3, 8),
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--outputs", "nifti,rtstruct"),
        ("--outputs", ","),
        ("--device", "gpu"),
        ("--device", "cuda:x"),
        ("--overlap", "0.8"),
        ("--overlap", "-0.1"),
        ("--overlap", "nan"),
        ("--overlap", "much"),
        ("--workers", "0"),
        ("--workers", "17"),
        ("--workers", "two"),
        ("--shard", "0/8"),
        ("--shard", "9/8"),
        ("--shard", "3"),
        ("--gaps", "ignore"),
        ("--out", ""),
        ("--model", " "),
    ],
)
def test_a_wrong_value_is_told(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(f"{option}={value}")
    told = capsys.readouterr().err
    assert option in told
    assert value.rsplit(",", maxsplit=1)[-1] in told


def test_help_is_quick_and_light(repository: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", HELP], cwd=repository, check=True, capture_output=True, text=True
    )
    facts = json.loads(shown.stderr)
    assert not {"torch", "monai", "numpy", "pydicom", "rich", "highdicom"} & set(facts["modules"])
    assert facts["seconds"] < 0.5


def test_help_names_every_option_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    options = "series gaps tilt outputs device overlap workers overwrite names strict shard"
    for option in options.split():
        assert re.search(rf"^  --{option}\b", shown, re.MULTILINE), option
    assert "not a medical device" in shown
    listed = shown[shown.index("options:") : shown.index("examples:")]
    lines = re.findall(r"^  -.*?(?=^  -|\Z)", listed, re.MULTILINE | re.DOTALL)
    assert len(lines) == 14
    assert [line for line in lines if not line.rstrip().endswith(".")] == [lines[0]]


def test_the_screen_of_a_pipe(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medsemi.prediction.run.predict.__defaults__", (FAKE.make_stages(),))
    assert run(parse_command(command)) == 2
    screen = capsys.readouterr()
    lines = screen.out.splitlines()
    assert lines[0].startswith("bad R02 Slice distances vary from 1 to 3 mm.")
    assert re.fullmatch(r"case00 done Segmented in \d+\.\d s\.", lines[1])
    assert [line.split() for line in lines[3:5]] == [["segmented", "2"], ["refused", "1"]]
    assert lines[5] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert len(lines) == 6
    assert screen.err == ""
    assert "\x1b" not in screen.out


def parse_command(command: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="medsemi")
    add_parser(parser.add_subparsers())
    return parser.parse_args(["predict", *command])


def test_names_from_headers_are_warned_of(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsemi.prediction.run.predict.__defaults__", (FAKE.make_stages(),))
    run(parse_command([*command, "--names", "header"]))
    assert "may hold names of patients" in capsys.readouterr().out.splitlines()[0]


ON_SCREEN = """
import time
from pathlib import Path
from medsemi.cli.progress import make_console
with make_console(Path("out")) as console:
    console.files(12)
    console.begin(2)
    for case in ("c1", "c2"):
        for stage in ("reading", "network", "writing"):
            console.stage(case, stage)
            console.part(case, 0.5)
            time.sleep(0.15)  # longer than the bars take to be drawn anew
        console.say(case, "W07", "Only [4] slices.")
        console.finished(case)
    console.end({"done": 2})
"""


def on_terminal(repository: Path, **variables: str) -> str:
    """What the program shows on a terminal."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **variables}
    environment.pop("FORCE_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", ON_SCREEN],
        cwd=repository, env=environment, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while more := os.read(controller, 65536):
            shown += more
    except OSError:  # how a terminal ends
        pass
    os.close(controller)
    assert process.wait(20) == 0
    return shown.decode()


@pytest.mark.parametrize("ends", ["closed pipe", "full disk"])
def test_a_run_goes_on_when_nobody_reads_its_output(repository: Path, ends: str) -> None:
    """As after `| head -1`, or a terminal that was closed."""
    reader, writer = os.pipe()
    os.close(reader)
    full = Path("/dev/full")
    with os.fdopen(writer, "wb") as closed, full.open("wb", buffering=0) as disk:
        done = subprocess.run(
            [sys.executable, "-c", ON_SCREEN.replace("0.15", "0.01")],
            cwd=repository, stdout=closed if ends == "closed pipe" else disk, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_sign_that_a_terminal_lacks_stops_nothing(repository: Path, tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4), np.int16), np.eye(4))
    done = subprocess.run(
        [sys.executable, "-m", "medsemi", "inspect", str(tmp_path)],
        cwd=repository, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "4?4" in done.stdout


def test_the_screen_of_a_terminal_has_bars_and_colors(repository: Path) -> None:
    shown = on_terminal(repository, NO_COLOR="")
    assert "cases" in shown
    assert "c1 reading" in shown
    assert "c2 writing" in shown
    assert "\x1b[36m" in shown
    assert "W07 Only [4] slices." in shown
    assert "cases 2/2" in shown
    assert "50%" in shown


def test_no_color_is_respected(repository: Path) -> None:
    shown = on_terminal(repository, NO_COLOR="1")
    assert "W07 Only [4] slices." in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_a_console_without_a_report_names_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_console(tmp_path) as console:
        console.end({})
    assert capsys.readouterr().out.strip() == ""


def test_the_real_stages_are_what_the_false_ones_pretend() -> None:
    """Each stage imports what it names; a change elsewhere is seen here."""
    false = FAKE.make_stages()
    pretended = {
        "discover": false.discover,
        "read_volume": false.read,
        "write_case": false.write,
        "case_record": false.record,
        "write_record": false.write_record,
        "write_report": false.report,
        "Segmenter": false.load,
    }
    source = Path(stages_module.__file__).read_text()
    for module, name in re.findall(r"^    from (medsemi\S+) import (\w+)$", source, re.MULTILINE):
        found: Any = __import__(module, fromlist=[name])
        real = inspect.signature(getattr(found, name)).parameters.values()
        if name in pretended:
            other = inspect.signature(pretended[name]).parameters.values()
            assert [(p.name, p.kind) for p in real] == [(p.name, p.kind) for p in other], name
