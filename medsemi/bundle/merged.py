"""Configuration files of a bundle, merged in the way of MONAI.

Nothing is evaluated and nothing is built here: a configuration is a tree of mappings, lists and
scalars, and its nodes are named by paths such as `train::trainer::max_epochs`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medsemi.bundle.reading import SEPARATOR, Finding, join, read
from medsemi.errors import ConfigError

COMMAND_LINE = "command line"
META = "_meta_"
# What no result depends on: where things lie and compute, and names in the dashboard.
PLACES = (
    META, "imports", "bundle_root", "dataset_dir", "manifest", "output_dir", "tracking_uri",
    "experiment_name", "run_name", "device",
)  # fmt: skip
MISSING: Any = object()


@dataclass
class Merged:
    """The tree that a run would use, where its parts come from, and what went wrong on the way.

    Args:
        tree: the merged configuration, overrides included.
        origin: the file that last set a path.
        first: the value that a path was set to first, which tells a count from a measure.
        findings: mistakes met while reading and merging.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def file_of(self, path: str) -> str:
        """Name the file that set `path` or the nearest node above it."""
        while path and path not in self.origin:
            path = path.rpartition(SEPARATOR)[0]
        return self.origin.get(path, "configuration")

    def report(self, path: str, sentence: str) -> None:
        """Add a finding about the node at `path`."""
        self.findings.append(Finding(self.file_of(path), path, sentence))


def merge(
    paths: Sequence[Path], overrides: Mapping[str, object], meta_file: Path | None = None
) -> Merged:
    """Merge configuration files in order, then apply overrides.

    Args:
        paths: YAML or JSON files; a later one replaces whole top-level keys, or adds with `+key`,
            or changes one leaf with `a::b` (`a#b` is the same).
        overrides: values by path, as given on the command line; only paths that exist are set.
        meta_file: the metadata, found under `_meta_`; by default beside the first file.

    Returns:
        The merged tree with the findings made on the way.
    """
    merged = Merged()
    for path in paths:
        for key, value in read(path, merged.findings).items():
            _add(merged, str(path), key, value)
    meta_file = meta_file or (paths[0].parent / "metadata.json" if paths else None)
    if meta_file is not None and meta_file.is_file():
        merged.tree[META] = read(meta_file, merged.findings)
    for name, value in overrides.items():
        _override(merged, normal(name), value)
    return merged


def settings_digest(workflows: Iterable[Sequence[Path]], left_out: Collection[str]) -> str:
    """SHA-256 (hex) of merged configurations.

    Args:
        workflows: for each, its files, as for `merge`.
        left_out: paths that do not count.

    Raises:
        ConfigError: if a file cannot be read or does not fit those before it.
    """
    trees = []
    for paths in workflows:
        merged = merge(paths, {})
        if merged.findings:
            raise ConfigError(str(merged.findings[0]))
        trees.append(_without(merged.tree, left_out))
    text = json.dumps(trees, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without(tree: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    kept = {key: node for key, node in tree.items() if key not in paths}
    for path in paths:
        key, _, below = path.partition(SEPARATOR)
        if below and isinstance(kept.get(key), Mapping):
            kept[key] = _without(kept[key], [below])
    return kept


def normal(path: str) -> str:
    """Write a path with the separator `::` instead of the older `#`."""
    return path.replace("#", SEPARATOR)


def children(node: object) -> Iterator[tuple[Any, Any]]:
    """Yield key or index and value of every child of a mapping or list."""
    if isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def nodes(node: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and node of everything at and below `node`."""
    yield path, node
    for key, child in children(node):
        yield from nodes(child, join(path, key))


def lookup(tree: object, path: str) -> Any:  # noqa: ANN401 - any node of a configuration
    """Find the node at `path`, or MISSING; `""` is the whole tree.

    A node that is a macro (`%other`) has the children of what it copies. What lies in another file
    is not followed: such a node is returned as it is.
    """
    node: Any = tree
    for key in path.split(SEPARATOR) if path else []:
        node = _follow(tree, node)
        if isinstance(node, str) and node.startswith("%"):
            return node
        node = next((child for name, child in children(node) if str(name) == key), MISSING)
        if node is MISSING:
            break
    return node


def nearest(path: str, tree: Mapping[str, Any], cutoff: float = 0.6) -> str | None:
    """Find the existing path that was most likely meant by `path`; `cutoff` is the least likeness."""
    known = [known for known, _ in nodes(tree) if known and not known.startswith(META)]
    close = get_close_matches(path, known, n=1, cutoff=cutoff)
    if close:
        return close[0]
    by_last = {known.rpartition(SEPARATOR)[2]: known for known in reversed(known)}
    close = get_close_matches(path.rpartition(SEPARATOR)[2], list(by_last), n=1, cutoff=cutoff)
    return by_last[close[0]] if close else None


def suggestion(name: str | None) -> str:
    """Return the end of a sentence that proposes `name`, or nothing."""
    return f"; did you mean `{name}`?" if name else ""


def _lookup_plain(tree: object, path: str) -> Any:  # noqa: ANN401 - any node of a configuration
    """Find the node at `path`, or MISSING, without following macros."""
    node: Any = tree
    for key in path.split(SEPARATOR):
        node = next((child for name, child in children(node) if str(name) == key), MISSING)
    return node


def _follow(tree: object, node: object) -> object:
    seen: list[object] = []
    while isinstance(node, str) and node.startswith("%") and node not in seen:
        seen.append(node)
        target = _lookup_plain(tree, normal(node[1:]))
        if target is MISSING:
            return node
        node = target
    return node


def _add(merged: Merged, file: str, key: object, value: object) -> None:
    if not isinstance(key, str):
        merged.tree[key] = value  # type: ignore[index]  # found by the rule for keys
        merged.origin[str(key)] = file
        return
    path = normal(key.removeprefix("+"))
    existing = _lookup_plain(merged.tree, path)
    if existing is MISSING and (key.startswith("+") or not _may_add(merged.tree, path)):
        hint = suggestion(nearest(path, merged.tree))
        sentence = (
            f"`{path}` does not exist in the files before this one{hint or ', so remove it.'}"
        )
        merged.findings.append(Finding(file, key, sentence))
    elif not key.startswith("+"):
        _set(merged, path, value, file)
        if existing is not MISSING:
            _check_replaced(merged, path, existing, value)
        # Of arguments only their component knows what they may be; null switches something off.
        if existing is not MISSING and value is not None and SEPARATOR not in path:
            _check_value(merged, path, existing, value)
    elif isinstance(existing, dict) and isinstance(value, dict):
        existing.update(value)
        merged.origin.update({join(path, name): file for name in value})
    elif isinstance(existing, list) and isinstance(value, list):
        merged.origin.update({join(path, len(existing) + i): file for i in range(len(value))})
        existing.extend(value)
    else:
        sentence = "only a mapping is added to a mapping and a list to a list; make both the same."
        merged.findings.append(Finding(file, key, sentence))


def _may_add(tree: Mapping[str, Any], path: str) -> bool:
    """Tell whether a file may make a new key: at the top, or an argument, checked by signature."""
    above = path.rpartition(SEPARATOR)[0]
    parent = _lookup_plain(tree, above) if above else {"_target_": ""}
    return isinstance(parent, dict) and "_target_" in parent


def _set(merged: Merged, path: str, value: object, file: str) -> None:
    above, _, last = path.rpartition(SEPARATOR)
    parent = _lookup_plain(merged.tree, above) if above else merged.tree
    if isinstance(parent, list):
        parent[int(last)] = value
    else:
        # A key that YAML read as a number has been found by its text.
        parent[next((name for name in parent if str(name) == last), last)] = value
    below = path + SEPARATOR
    merged.origin = {p: f for p, f in merged.origin.items() if not p.startswith(below)}
    merged.origin[path] = file
    merged.first.setdefault(path, copy.deepcopy(value))  # its elements may be set one by one


def _override(merged: Merged, path: str, value: object) -> None:
    existing = _lookup_plain(merged.tree, path)
    if existing is MISSING:
        sentence = f"`{path}` is not a key of this configuration"
        hint = suggestion(nearest(path, merged.tree)) or ", so nothing would use it; remove it."
        merged.findings.append(Finding(COMMAND_LINE, path, sentence + hint))
        return
    _set(merged, path, value, COMMAND_LINE)
    _check_replaced(merged, path, existing, value)
    _check_value(merged, path, existing, value)


# What stands for a word that is text: on the command line, and in a file.
_WORDS = {
    "true": ("True", "true"),
    "false": ("False", "false"),
    **dict.fromkeys(("null", "none", "~"), ("'$None'", "null")),
}


def _check_value(merged: Merged, path: str, existing: object, value: object) -> None:
    """Report a value of another type than stood there."""
    if is_expression(value) or (value == "none" and isinstance(existing, str)):
        return  # `none` is the name of a choice, as in flip_rule
    is_typed = merged.file_of(path) == COMMAND_LINE
    if isinstance(value, str) and value.lower() in _WORDS:
        typed, written = _WORDS[value.lower()]
        right = f"--{path} {typed}" if is_typed else f"{path}: {written}"
        merged.report(path, f"`{value}` would be taken as text; write {right}.")
        return
    right = "" if is_expression(existing) else _right_type(existing, value)
    right = right or _right_count(merged, path, value)
    if right:
        verb = "is text" if isinstance(value, str) else "stands"
        files = "the files" if is_typed else "the files before this one"
        merged.report(path, f"`{value}` {verb} where {files} hold {existing}; give {right}.")


def _check_replaced(merged: Merged, path: str, existing: object, value: object) -> None:
    """Report a mapping that takes the place of a component, where one of its arguments was meant."""
    if not _loses_component(existing, value):
        return
    leaf, inner = next(
        (below, node)
        for below, node in nodes(value, path)
        if not node or not isinstance(node, dict)
    )
    is_typed = merged.file_of(path) == COMMAND_LINE
    text = json.dumps(inner, default=str)
    argument = f"--{leaf} {text}" if is_typed else f"{leaf}: {text}"
    advice = f"write `{argument}`" if value else "give its `_target_`, or remove it"
    merged.report(path, f"this replaces the whole of {path}; {advice}.")


def _loses_component(existing: object, value: object) -> bool:
    if not isinstance(existing, dict) or not isinstance(value, dict):
        return False
    if "_target_" in existing:
        return "_target_" not in value
    kept = any(_loses_component(existing[key], value[key]) for key in value if key in existing)
    return kept or (bool(value) and _has_component(existing) and not _has_component(value))


def _has_component(tree: object) -> bool:
    return any(isinstance(node, dict) and "_target_" in node for _, node in nodes(tree))


def is_expression(value: object) -> bool:
    """Tell whether only a run knows the type of a value."""
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


# The types that may stand for another one, and what they are called; True is an int to Python.
_TYPES: tuple[tuple[Any, Any, str], ...] = (
    (bool, bool, "True or False"),
    ((int, float), (int, float), "a number"),
    (list, (list, tuple), "a list, such as [1,2]"),
    (dict, dict, "a mapping, such as {a: 1}"),
    (str, (str, list, dict), "text; a number that is text has two pairs of quotes"),
)


# Degrees, hours, mm and grey values, which files happen to give as whole numbers.
_MEASURES = ("rotation", "patience_hours", "spacing", "clip")


def _right_count(merged: Merged, path: str, value: object) -> str:
    """Say what should stand for a fraction of what is counted, such as steps or voxels, else nothing."""
    top = path.split(SEPARATOR, maxsplit=1)[
        0
    ]  # the list, where the path leads to one of its elements
    first = _items(merged.first.get(top))
    is_count = top not in _MEASURES and first and all(type(item) is int for item in first)
    if is_count and any(isinstance(item, float) for item in _items(value)):
        return "whole numbers" if isinstance(value, (list, tuple)) else "a whole number"
    return ""


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else [value]


def _right_type(existing: object, value: object) -> str:
    """Say what should stand for a value of another type than the files hold, else nothing."""
    if type(existing) is int and isinstance(value, float) and value.is_integer():
        return str(int(value))  # a count of steps is no fraction, whatever follows its point
    for held, allowed, name in _TYPES:
        if isinstance(existing, held):
            wrong_bool = isinstance(value, bool) and held is not bool
            return name if wrong_bool or not isinstance(value, allowed) else ""
    return ""
