"""The rules of the house: sizes, documentation, annotations, start-up, texts."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import pytest

import medsemi

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]
LONGEST_FILE, LONGEST_FUNCTION, MEAN_FUNCTION = 400, 60, 12
HEAVY = {"torch", "monai", "mlflow", "ignite", "numpy"}
# Folders of a person or of a machine that some text was made on.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|media|scratch|opt/\w+|tmp)/\w")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows; outside a checkout the test cannot tell, and fails."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=REPOSITORY, check=True, capture_output=True
    )
    paths = [REPOSITORY / name for name in listing.stdout.decode().split("\0") if name]
    assert paths, f"git knows no file like {patterns}"
    return [path for path in paths if path.exists()]


def sources() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in tracked("medsemi/*.py")]


def length_without_docstring(function: Function) -> int:
    """Lines from `def` (or its first decorator) to the last statement, without the docstring."""
    first = min([function.lineno, *(node.lineno for node in function.decorator_list)])
    lines = (function.end_lineno or first) - first + 1
    body = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (body.end_lineno or body.lineno) - body.lineno + 1
    return lines


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def public(tree: ast.AST) -> Iterator[ast.ClassDef | Function]:
    """Functions, classes and methods of a module that a reader may call."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def lacks_annotation(function: Function) -> bool:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [star for star in (arguments.vararg, arguments.kwarg) if star]
    bound = {"self", "cls"} if named and named[0].arg in {"self", "cls"} else set()
    return function.returns is None or any(
        argument.annotation is None for argument in named if argument.arg not in bound
    )


def place(path: Path, node: ast.ClassDef | Function) -> str:
    return f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"


def module_names() -> list[str]:
    walk = pkgutil.walk_packages(medsemi.__path__, "medsemi.")
    return [name for _, name, _ in walk if not name.endswith("__main__")]


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path, _ in sources()}
    too_long = {str(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE}
    assert not too_long


def test_functions_are_short() -> None:
    lengths = {
        place(path, function): length_without_docstring(function)
        for path, tree in sources()
        for function in functions(tree)
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert mean(lengths.values()) <= MEAN_FUNCTION


def test_the_docstring_is_not_counted() -> None:
    function = next(
        functions(ast.parse('@once\ndef f():\n    """One.\n\n    Two.\n    """\n    g()'))
    )
    assert length_without_docstring(function) == 3


def test_everything_public_is_documented() -> None:
    assert not [
        place(path, node)
        for path, tree in sources()
        for node in public(tree)
        if ast.get_docstring(node) is None and not node.name.startswith("_")
    ]
    assert not [str(path) for path, tree in sources() if ast.get_docstring(tree) is None]


def test_every_function_is_annotated() -> None:
    assert not [
        place(path, function)
        for path, tree in sources()
        for function in functions(tree)
        if lacks_annotation(function)
    ]


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("def f(a: int) -> int: ...", False),
        ("def f(self, a: int) -> int: ...", False),
        ("def f(a) -> int: ...", True),
        ("def f(*a, **b: int) -> int: ...", True),
        ("def f(a: int): ...", True),
    ],
)
def test_a_missing_annotation_is_seen(source: str, lacks: bool) -> None:
    assert lacks_annotation(next(functions(ast.parse(source)))) is lacks


def test_importing_the_package_is_light() -> None:
    program = "import json, sys, medsemi; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True
    ).stdout
    assert not HEAVY & set(json.loads(output))


def test_every_module_can_be_imported() -> None:
    names = module_names()
    assert "medsemi.methods.bcp" in names
    for name in names:
        importlib.import_module(name)


def test_modules_and_tests_have_no_leftover_names() -> None:
    assert not [path for path in tracked("*.py") if path.stem in {"utils", "helpers", "misc"}]


def test_no_file_names_a_machine() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        if path != Path(__file__) and b"\0" not in path.read_bytes()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert not found


@pytest.mark.parametrize("text", ["/home/ann/data", '"/mnt/x"', "see /opt/venv/bin"])
def test_a_machine_path_is_seen(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["https://a.org/work/x", "data/work/x", "./tmp/x", "/usr/bin/env"])
def test_other_paths_are_left_alone(text: str) -> None:
    assert not MACHINE_PATH.search(text)


@pytest.mark.parametrize("command", ["make demo", "make test", "make install", "make dashboard"])
def test_the_readme_names_targets_that_exist(command: str) -> None:
    assert command in (REPOSITORY / "README.md").read_text()
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(REPOSITORY)}: {link}"
        for path in tracked("*.md")
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text())
        if "://" not in link and not (path.parent / link).exists()
    ]
    assert not broken


def test_configuration_files_of_the_readme_exist() -> None:
    named = re.findall(
        r"(?:bundles|data_manifests|scripts)/[\w./]+\.\w+", (REPOSITORY / "README.md").read_text()
    )
    assert named
    assert not [name for name in sorted(set(named)) if not (REPOSITORY / name).exists()]
