"""The table of the left-atrium trainings gathers over days and machines."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "left_atrium_small.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("left_atrium_small", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def training(seed: int, dice: str) -> dict[str, object]:
    return {"protocol": "paper", "seed": seed, "method": "bcp", "Dice": dice}


def comparison(seed: int, name: str) -> dict[str, object]:
    return {"protocol": "paper", "seed": seed, "compared": name}


def test_a_new_training_replaces_its_own_rows_alone(benchmark: ModuleType) -> None:
    recorded = [training(1337, "old"), training(1337, "old"), training(2024, "other")]

    rows = benchmark.merged([training(1337, "new")], recorded)

    assert [row["Dice"] for row in rows] == ["new", "other"]


def test_comparisons_belong_to_the_method_that_they_begin_with(benchmark: ModuleType) -> None:
    recorded = [comparison(1337, "supervised: recalibrated student − student")]
    new = [comparison(1337, "bcp teacher − supervised student")]

    assert benchmark.merged(new, recorded) == [*new, *recorded]


def test_a_report_without_trainings_keeps_what_is_written(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    written = SCRIPT.with_suffix(".json").read_text(encoding="utf-8")
    (tmp_path / "table.json").write_text(written)

    benchmark.report(tmp_path / "no_runs", tmp_path / "table.md")

    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(written)


def test_a_shard_that_is_none_is_refused(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(benchmark, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(benchmark, "report", lambda *_: pytest.fail("reported"))
    command = ["x", "--dataset", str(tmp_path), "--runs", str(tmp_path), "--shard", "2/2"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--shard is '2/2'; give I/N" in capsys.readouterr().err
