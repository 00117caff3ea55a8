"""The list of methods is that of the classes, and costs nothing to read."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest
import torch
from torch import nn

import medsemi.methods
from medsemi.errors import ConfigError
from medsemi.methods.method import Method
from medsemi.methods.registry import METHODS, MethodEntry, find_method

NETWORKS = {"classes": 3, "stages": {"encoder": 4}}


def network() -> nn.Module:
    layers = nn.Sequential()
    layers.add_module("encoder", nn.Conv2d(1, 4, 3, padding=1))
    layers.add_module("decoder", nn.Conv2d(4, 3, 1))
    return layers


def class_of(entry: MethodEntry) -> type[Method]:
    module = importlib.import_module(entry.target.rpartition(".")[0])
    return getattr(module, entry.class_name)


def test_every_module_of_a_method_is_listed_once() -> None:
    modules = {module.name for module in pkgutil.iter_modules(medsemi.methods.__path__)}
    assert sorted(entry.name for entry in METHODS) == sorted(
        modules - {"build", "method", "registry"}
    )


@pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
def test_an_entry_says_what_its_class_is(entry: MethodEntry) -> None:
    parameters = inspect.signature(class_of(entry).__init__).parameters
    required = {n for n, p in parameters.items() if p.default is p.empty} - {"self", "network"}
    assert required - set(entry.step_shares) == set(entry.needs)
    assert set(entry.step_shares) <= set(parameters)
    given = {n: NETWORKS.get(n) or network() for n in entry.needs}
    steps = {n: int(1000 * share) for n, share in entry.step_shares.items()}
    torch.manual_seed(0)
    method = class_of(entry)(network(), **given, **steps)
    assert method.cost == pytest.approx(entry.cost)
    assert set(method.passes) <= set(method.networks)
    assert len(entry.summary) <= 90
    assert entry.dims == (2, 3)


def test_reading_the_list_imports_nothing_heavy() -> None:
    program = "import json, sys, medsemi.methods.registry; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert not {"torch", "monai", "numpy", "medsemi.methods.method"} & set(json.loads(output))


def test_a_name_that_is_not_there() -> None:
    assert find_method("fixmatch").target == "medsemi.methods.fixmatch.FixMatch"
    with pytest.raises(ConfigError, match="did you mean mean_teacher"):
        find_method("meanteacher")
