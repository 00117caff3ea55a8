"""The speed benchmark runs; what it prints is never asserted."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from medsemi.methods import bcp

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_speed.py"


@pytest.mark.slow
def test_it_measures_both_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("start_component_filter", "update_teacher", "region_losses"):
        monkeypatch.setattr(bcp, name, getattr(bcp, name))  # the benchmark wraps them
    import torch

    monkeypatch.setattr(torch.Tensor, "backward", torch.Tensor.backward)
    specification = importlib.util.spec_from_file_location("training_speed", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(__import__("sys").modules, "training_speed", module)
    specification.loader.exec_module(module)
    output = tmp_path / "speed.md"
    small = ["--window", "16", "16", "16", "--filters", "2", "--steps", "1", "--blocks", "1"]
    module.main([*small, "--output", str(output)])
    text = output.read_text()
    for part in ("plain loop", "SemiSupervisedTrainer", "backward", "components", "data"):
        assert part in text
