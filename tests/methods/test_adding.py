"""docs/methods/adding.md works as it is written."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

BLOCK = re.compile(r"<!-- (file|into): ([\w/.]+)(?:, after: (.+?))? -->\n```python\n(.*?)```", re.S)
NAME = "flip_consistency"


def blocks(repository: Path) -> list[tuple[str, str, str, str]]:
    """What the page adds: whole files, and lines after a line of a file."""
    text = (repository / "docs" / "methods" / "adding.md").read_text(encoding="utf-8")
    return BLOCK.findall(text)


def follow(copied: Path, steps: list[tuple[str, str, str, str]]) -> None:
    for kind, name, after, code in steps:
        path = copied / name
        if kind == "file":
            path.write_text(code)
            continue
        text = path.read_text()
        assert text.count(f"\n{after}\n") == 1, f"{name} has no line '{after}'"
        path.write_text(text.replace(f"\n{after}\n", f"\n{after}\n{code}"))


def test_the_lines_that_the_page_names_exist(repository: Path, tmp_path: Path) -> None:
    steps = blocks(repository)
    assert [step[:2] for step in steps] == [
        ("file", f"medsemi/methods/{NAME}.py"),
        ("into", "medsemi/methods/registry.py"),
        ("into", "tests/methods/every_method.py"),
        ("into", "tests/methods/every_method.py"),
        ("file", f"tests/methods/test_{NAME}.py"),
    ]
    for folder in ("medsemi", "tests"):
        (tmp_path / folder / "methods").mkdir(parents=True)
    for kind, name, _, _ in steps:
        if kind == "into":
            shutil.copy(repository / name, tmp_path / name)
    follow(tmp_path, steps)
    for _, name, _, _ in steps:
        compile((tmp_path / name).read_text(), name, "exec")


def test_the_example_is_a_method(repository: Path, tmp_path: Path) -> None:
    from medsemi.batch import Batch, Sub
    from medsemi.seeds import derive_generator

    path = tmp_path / f"{NAME}.py"
    path.write_text(blocks(repository)[0][3])
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    image, label = torch.randn(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8)
    batch = Batch(Sub(image, label, ("a", "b")), Sub(image, None, ("c", "d")))
    method = module.FlipConsistency(nn.Conv2d(1, 2, 3, padding=1), rampup_steps=0)
    found = method(batch, method.draw(batch, derive_generator(2)), 0)
    assert set(found.terms) == {"dice_labeled", "ce_labeled", "consistency"}
    assert found.total.isfinite()
    assert method.cost == pytest.approx(7 / 3)


def test_the_contract_has_the_fourteen_properties(repository: Path) -> None:
    text = (repository / "docs" / "methods" / "adding.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. ", text, re.MULTILINE)
    assert listed == [str(number) for number in range(1, 15)]
    contract = (repository / "tests" / "methods" / "test_contract.py").read_text()
    numbered = {int(n) for n in re.findall(r"^def test_(\d+)_", contract, re.MULTILINE)}
    assert numbered == set(range(1, 15)) - {8}


@pytest.mark.slow
def test_the_steps_as_written(repository: Path, tmp_path: Path) -> None:
    """In a copy of package and tests: the contract, the registry, and the list of methods."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository / "medsemi", tmp_path / "medsemi", ignore=ignored)
    shutil.copytree(repository / "tests" / "methods", tmp_path / "tests/methods", ignore=ignored)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(repository / name, tmp_path / name)
    follow(tmp_path, blocks(repository))
    tests = [f"tests/methods/test_{name}.py" for name in ("contract", "registry", NAME)]
    for line, word in (
        (["pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "flip or registry"], "passed"),
        (["medsemi", "methods"], NAME),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *line], check=False, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert word in done.stdout
