"""The demo's stages that run side by side: each has its log, and none is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
FAILS, WAITS = (
    "import sys; print('no room'); sys.exit(3)",
    "import time; print(1, flush=True); time.sleep(600)",
)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import demo

    return demo


@pytest.fixture
def started(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Processes of a demo whose supervised training, or its evaluation, goes on; all else fails."""
    processes, start = [], demo.Demo.start

    def command(self: object, stage: str, *options: str) -> list[str]:
        return [sys.executable, "-c", WAITS if "supervised" in (stage, *options) else FAILS]

    def remembered(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        processes.append(start(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(demo.Demo, "command", command)
    monkeypatch.setattr(demo.Demo, "start", remembered)
    return processes


@pytest.mark.parametrize("work", ["train", "score"])
def test_where_one_stage_fails_the_other_is_ended(
    demo: ModuleType, started: list[subprocess.Popen[bytes]], work: str, tmp_path: Path
) -> None:
    try:
        with pytest.raises(SystemExit):
            getattr(demo, work)(demo.Demo(tmp_path, 0))
        assert [process.returncode is not None for process in started] == [True, True]
    finally:
        for process in started:
            process.kill()


def test_each_evaluation_has_its_log(
    demo: ModuleType,
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        with pytest.raises(SystemExit):
            demo.score(demo.Demo(tmp_path, 0))
    finally:
        for process in started:
            process.kill()
    assert "evaluate_train.log" in "".join(capsys.readouterr().out.split())
    assert (tmp_path / "evaluate_train.log").read_text() == "no room\n"
    assert (tmp_path / "evaluate_supervised.log").read_text() != "no room\n"
