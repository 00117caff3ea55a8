"""References between the nodes of a configuration: `@id` and `%id`, and what a run can reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medsemi.bundle.merged import MISSING, children, lookup, nodes, normal
from medsemi.bundle.reading import SEPARATOR, join

# A reference may start with separators: one for the same level, two for the level above.
_REFERENCE = re.compile(rf"@((?:{SEPARATOR})*)(\w*(?:{SEPARATOR}\w*)*)")
_FILE = re.compile(rf"\.(json|ya?ml)({SEPARATOR}|$)", re.IGNORECASE)


def references(text: str, path: str) -> list[str]:
    """List the paths that a string refers to, by the rules of MONAI.

    Args:
        text: the value of a node; `@id` counts if it is the whole string or stands in an
            expression (`$...`), `%id` if it is the whole string.
        path: where the node stands, for relative references.

    Returns:
        Absolute paths, in order of appearance, not yet checked for existence.
    """
    text = normal(text)
    if text.startswith("%"):
        match = _REFERENCE.fullmatch("@" + text[1:])
        return [] if match is None or _FILE.search(text) else [_absolute(match, path)]
    if text.startswith("$"):
        return [_absolute(match, path) for match in _REFERENCE.finditer(text)]
    whole = _REFERENCE.fullmatch(text)
    return [_absolute(whole, path)] if whole else []


def without_references(text: str, name: str = "reference") -> str:
    """Put a plain name in the place of every reference, so that Python can parse the rest."""
    return _REFERENCE.sub(name, normal(text))


def is_outside(text: str) -> bool:
    """Tell whether a macro copies from another file."""
    return text.startswith("%") and _FILE.search(normal(text)) is not None


def unreached(tree: Mapping[str, Any], roots: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """List the uppermost nodes that nothing refers to.

    Args:
        tree: a merged configuration.
        roots: paths that a run evaluates.
        allowed: paths that may stand unused, because other programs read or set them. What they
            refer to counts as used.

    Returns:
        Paths of top-level keys, or of nodes below containers of which only parts are used.
    """
    return list(_uncovered(tree, "", reachable(tree, [*roots, *allowed])))


def reachable(tree: Mapping[str, Any], start: Iterable[str]) -> set[str]:
    """Collect `start` and every path that is referred to from there, directly or not."""
    waiting, reached = list(start), set[str]()
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        waiting.extend(_copied(tree, path))
        node = lookup(tree, path)
        if node is not MISSING:
            for below, value in nodes(node, path):
                if isinstance(value, str):
                    waiting.extend(references(value, below))
    return reached


def _copied(tree: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield what the macros above a path copy, since its node stands there."""
    parts = path.split(SEPARATOR)
    for end in range(1, len(parts)):
        above = SEPARATOR.join(parts[:end])
        node = lookup(tree, above)
        if isinstance(node, str) and node.startswith("%"):
            yield from references(node, above)


def _uncovered(node: object, path: str, reached: set[str]) -> Iterator[str]:
    for key, child in children(node):
        below = join(path, key)
        if below in reached:
            continue
        if not any(known.startswith(below + SEPARATOR) for known in reached):
            yield below
        elif isinstance(child, dict) and "_target_" not in child:
            yield from _uncovered(child, below, reached)


def _absolute(match: re.Match[str], path: str) -> str:
    levels = len(match[1]) // len(SEPARATOR)
    if not levels:
        return match[2]
    above = path.split(SEPARATOR)[:-levels]
    return SEPARATOR.join([*above, match[2]])
