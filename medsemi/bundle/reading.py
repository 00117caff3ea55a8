"""Configuration files of a bundle, read strictly: what YAML accepts in silence is found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

SEPARATOR = "::"

_ODD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_BOOL = "tag:yaml.org,2002:bool"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


@dataclass(frozen=True)
class Finding:
    """One mistake in a configuration.

    Args:
        file: the file that holds it, or "command line".
        key: the path of the key that it concerns; empty if the whole file is meant.
        sentence: what is wrong and what to do.
    """

    file: str
    key: str
    sentence: str

    def __str__(self) -> str:
        """The finding on one line."""
        return (
            f"{self.file}: {self.key}: {self.sentence}"
            if self.key
            else f"{self.file}: {self.sentence}"
        )


def join(path: str, key: object) -> str:
    """Name the child `key` of the node at `path`."""
    return f"{path}{SEPARATOR}{key}" if path else str(key)


def read(path: Path, findings: list[Finding]) -> dict[Any, Any]:
    """Read a YAML or JSON file strictly.

    Args:
        path: the file.
        findings: gains what is wrong with the file: it cannot be read or parsed, keys are given
            twice, values are not what they look like.

    Returns:
        The mapping at its top; empty if there is none.
    """
    file = str(path)
    try:
        tree, found = _parse(path.read_text(encoding="utf-8"), path.suffix == ".json")
    except OSError as error:
        findings.append(Finding(file, "", f"cannot be read ({error.strerror}); check the path."))
    except (yaml.YAMLError, ValueError) as error:
        sentence = f"cannot be parsed ({' '.join(str(error).split())}); mend the syntax."
        findings.append(Finding(file, "", sentence))
    else:
        findings.extend(Finding(file, key, sentence) for key, sentence in found)
        if isinstance(tree, dict):
            return deepcopy(tree)
        findings.append(Finding(file, "", "holds no mapping at its top; write `key: value` lines."))
    return {}


# The files of a bundle are read once for each combination that they belong to.
@lru_cache(maxsize=64)
def _parse(text: str, is_json: bool) -> tuple[object, tuple[tuple[str, str], ...]]:
    found: list[tuple[str, str]] = []
    tree = _from_json(text, found) if is_json else _from_yaml(text, found)
    return tree, tuple(found)


def _from_json(text: str, found: list[tuple[str, str]]) -> object:
    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        twice = {name for name in names if names.count(name) > 1}
        found.extend((name, _duplicate(name)) for name in sorted(twice))
        return dict(pairs)

    return json.loads(text, object_pairs_hook=build)


def _from_yaml(text: str, found: list[tuple[str, str]]) -> object:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        found.extend(_odd_nodes(node, ""))
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _odd_nodes(node: yaml.Node, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _odd_nodes(item, join(path, index))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            name = str(key.value)
            if name in seen:
                yield join(path, name), f"line {key.start_mark.line + 1}: {_duplicate(name)}"
            seen.add(name)
            yield from _odd_nodes(item, join(path, name))
    elif isinstance(node, yaml.ScalarNode) and _is_odd(node):
        yield (
            path,
            f"`{node.value}` is read as something else by YAML; quote it, or write it plainly.",
        )


def _is_odd(node: yaml.ScalarNode) -> bool:
    if node.tag == _BOOL:
        return node.value.lower() not in ("true", "false")
    return node.tag in _NUMBERS and _ODD_NUMBER.fullmatch(node.value) is not None


def _duplicate(name: str) -> str:
    return f"`{name}` is given twice, and only the last one would count; keep one of them."
