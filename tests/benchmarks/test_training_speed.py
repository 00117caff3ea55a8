"""The speed benchmarks run; no time that they print is asserted."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from medsemi.methods import bcp
from medsemi.parts.intensity_augmentation import IntensityAugmentation

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--window", "32", "32", "32", "--steps", "1"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script of the folder; what it wraps is put back afterwards."""
    for name in ("start_component_filter", "update_teacher", "region_losses"):
        monkeypatch.setattr(bcp, name, getattr(bcp, name))
    monkeypatch.setattr(torch.Tensor, "backward", torch.Tensor.backward)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", torch.nn.utils.clip_grad_norm_)
    monkeypatch.setattr(IntensityAugmentation, "apply", IntensityAugmentation.apply)
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.mark.slow
def test_it_measures_both_loops(benchmark: Callable[[str], ModuleType], tmp_path: Path) -> None:
    output = tmp_path / "speed.md"
    options = [*SMALL, "--filters", "2", "--blocks", "1", "--output", str(output)]
    benchmark("training_speed").main(options)
    text = output.read_text()
    for part in ("plain loop", "SemiSupervisedTrainer", "backward", "components", "data"):
        assert part in text


@pytest.mark.slow
def test_every_switch_of_the_recipe_has_a_cost(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, script = tmp_path / "cost.md", benchmark("recipe_cost")
    for module in (script, benchmark("training_speed")):
        monkeypatch.setattr(module, "LEFT_OUT", 2)
        monkeypatch.setattr(module, "MEASURED", 2)
    script.main([*SMALL, "--batches", "2", "--output", str(output)])
    published, recipe, beside, _ = output.read_text().split("## The same with")
    for switch in script.SWITCHES:
        assert f"| {script.label(switch)} |" in published
    for part in ("intensities", "average of weights", "clipping"):
        assert f"| {part} |" in recipe
    assert "| intensities |" not in published
    assert "| data |" not in beside


@pytest.mark.slow
def test_settings_methods_and_precisions_take_turns(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where fp16 is left out and nothing waits."""
    output = tmp_path / "gpu.md"
    small = ["--window", "32", "32", "16", "--slice", "32", "32", "--filters", "2", "--steps", "1"]
    few = ["--rounds", "1", "--train-steps", "2", "--parts", "settings,methods,precision"]
    script, precision = benchmark("gpu_speed"), benchmark("gpu_precision")
    # Two filters in bf16 on a CPU end in NaN now and then.
    runs = {name: one for name, one in precision.RUNS.items() if one["amp"] == "none"}
    small_scans = {"SHAPE": (32, 32, 32), "WINDOW": (32, 32, 32), "FILTERS": 2, "RUNS": runs}
    for name, value in small_scans.items():
        monkeypatch.setattr(precision, name, value)
    script.main([*small, *few, "--device", "cpu", "--output", str(output)])
    text = output.read_text()
    assert text.count("| bf16, channels last |") == 3
    for entry in script.METHODS:
        assert f"| {entry.name} |" in text
    assert "| fp16" not in text.split("## The same network")[0]
    assert "| float32 | 100.0000 % |" in text
