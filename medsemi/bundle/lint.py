"""Find the mistakes in a bundle's configuration that MONAI passes over in silence.

Usage: python -m medsemi.bundle.lint bundles/left_atrium_mri_bcp

No network is built and no expression is evaluated; modules named by `_target_` are imported.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medsemi.bundle.merged import (
    META,
    MISSING,
    Merged,
    lookup,
    merge,
    nearest,
    nodes,
    normal,
    suggestion,
)
from medsemi.bundle.overlays import bases, misplaced_overlays
from medsemi.bundle.reading import SEPARATOR, Finding
from medsemi.bundle.references import (
    is_outside,
    reachable,
    references,
    unreached,
    without_references,
)
from medsemi.bundle.targets import CONTROL_KEYS, check_component, check_expression

__all__ = ["Finding", "lint_bundle", "lint_configs"]

# Keys that a bundle may hold unused: every bundle takes them, or other programs read them.
COMMON_KEYS = (
    "bundle_root", "dataset_dir", "manifest", "output_dir", "tracking_uri", "experiment_name",
    "run_name", "seed", "device", "amp", "num_workers", "imports", "preparation", META, "_desc_",
)  # fmt: skip
# Ids that applications ask a bundle for (the bundle properties of MONAI).
TRAINING_KEYS = (
    "network_def", "val_interval", "train::trainer", "train::dataset", "train::inferer",
    "train::handlers", "train::preprocessing", "train::postprocessing", "train::key_metric",
    "validate::evaluator", "validate::handlers", "validate::dataset", "validate::inferer",
    "validate::preprocessing", "validate::postprocessing", "validate::key_metric",
)  # fmt: skip
INFERENCE_KEYS = (
    "network_def", "dataset", "evaluator", "inferer", "handlers", "preprocessing",
    "postprocessing", "key_metric",
)  # fmt: skip

_EXPONENT = re.compile(r"[-+]?[0-9.]+e[-+]?[0-9]+", re.IGNORECASE)
_LITERAL_REFERENCE = re.compile(r"@(\w+)")
_SUFFIXES = (".yaml", ".yml", ".json")


def lint_configs(
    paths: Sequence[Path],
    overrides: Mapping[str, object] = MappingProxyType({}),
    *,
    roots: Sequence[str] = ("initialize", "run", "finalize"),
    meta_file: Path | None = None,
) -> list[Finding]:
    """Find the mistakes in configuration files as one run would merge them.

    Args:
        paths: the files, in the order of `--config_file`.
        overrides: values by path, as given on the command line.
        roots: the keys that the run evaluates, in the order initialize, run, finalize.
        meta_file: the metadata; by default `metadata.json` beside the first file.

    Returns:
        Findings, those about reading, merging and overrides first; empty if all is well. Files in the
        wrong order are told alone.
    """
    paths = [Path(path) for path in paths]
    misplaced = misplaced_overlays(paths)
    if misplaced:  # what else is wrong would follow from it
        return misplaced
    merged = merge(paths, overrides, meta_file)
    if merged.findings and not merged.tree:
        return merged.findings
    content = {key: value for key, value in merged.tree.items() if key != META}
    for path, node in nodes(content):
        for sentence in _check_node(merged.tree, path, node):
            merged.report(path, sentence)
    _check_roots(merged, roots, paths)
    return list(dict.fromkeys(merged.findings))


def lint_bundle(bundle: Path) -> list[Finding]:
    """Find the mistakes in every combination of files that a bundle is made for.

    Each file of `configs` is merged onto `common.yaml`, or onto what its first line names:
    `# overlay of: common.yaml, train.yaml`; a semicolon separates alternatives.

    Args:
        bundle: the folder with `configs`.

    Returns:
        Findings without repetition; empty if all is well.
    """
    combinations = _all_combinations(bundle / "configs")
    if not combinations:
        sentence = "holds no configuration; give the folder of a bundle."
        return [Finding(str(bundle / "configs"), "", sentence)]
    return list(dict.fromkeys(finding for paths in combinations for finding in lint_configs(paths)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings of the bundles given on the command line.

    Args:
        arguments: the command line without the program's name; None takes it from the process.

    Returns:
        1 if there are findings, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m medsemi.bundle.lint", description=lint_bundle.__doc__
    )
    parser.add_argument("bundles", nargs="+", type=Path, help="folders with configs/")
    findings = [f for bundle in parser.parse_args(arguments).bundles for f in lint_bundle(bundle)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def _all_combinations(configs: Path) -> list[list[Path]]:
    files = [path for path in sorted(configs.glob("*")) if path.suffix in _SUFFIXES]
    return [c for file in files if file.stem != "metadata" for c in _combinations(file)]


def _combinations(file: Path) -> Iterator[list[Path]]:
    for below in bases(file):
        yield [*(file.with_name(name) for name in below), file]


def _check_roots(merged: Merged, roots: Sequence[str], paths: Sequence[Path]) -> None:
    tree, run = merged.tree, roots[1]
    if not _is_runnable(tree.get(run)):
        text = f"there is nothing to run under `{run}`"
        close = suggestion(nearest(run, tree)) if run not in tree else ""
        merged.report(run, text + (close or "; give a list of expressions that start with `$`."))
    unused = unreached(tree, roots, _allowed(tree))
    elsewhere = _used_elsewhere(paths) if unused else set()
    for path in unused:
        if path not in elsewhere:
            known = {key: value for key, value in tree.items() if key not in unused}
            close = suggestion(nearest(path, known, cutoff=0.85)) or "; remove it or refer to it."
            merged.report(path, f"nothing uses `{path}`{close}")


def _allowed(tree: Mapping[str, Any]) -> list[str]:
    properties = TRAINING_KEYS if "train" in tree else INFERENCE_KEYS
    return [key for key in (*COMMON_KEYS, *properties) if lookup(tree, key) is not MISSING]


def _used_elsewhere(paths: Sequence[Path]) -> set[str]:
    """Collect what other workflows of the bundle use of the files that they share with this one."""
    used: set[str] = set()
    for combination in _all_combinations(paths[0].parent):
        if set(combination) & set(paths):
            tree = merge(combination, {}).tree
            used |= reachable(tree, ["initialize", "run", "finalize", *_allowed(tree)])
    return used


def _is_runnable(node: object) -> bool:
    if isinstance(node, list):
        return bool(node) and all(map(_is_runnable, node))
    if isinstance(node, dict):
        return "_target_" in node
    return isinstance(node, str) and node.startswith(("$", "@"))


def _check_node(tree: Mapping[str, Any], path: str, node: object) -> Iterator[str]:
    if isinstance(node, dict):
        data = "_target_" not in node and _is_argument(tree, path)
        for key in node:
            yield from _check_key(key, path, data=data)
        if "_target_" in node:
            yield from check_component(node)
    elif isinstance(node, str):
        yield from _check_references(tree, path, node)
        if path.rpartition(SEPARATOR)[2] != "_desc_":
            yield from _check_text(tree, node)
    elif isinstance(node, tuple):  # of the command line, quoted or not
        items = ",".join(map(str, node))
        yield f"`{items}` was read as a tuple; write [{items}]."
    elif not isinstance(node, (list, int, float, type(None))):
        yield f"`{node}` was read as a {type(node).__name__}; quote it."


def _is_argument(tree: Mapping[str, Any], path: str) -> bool:
    """Tell whether a node lies in an argument of a component, where its keys may be any text."""
    parts = path.split(SEPARATOR)
    above = (lookup(tree, SEPARATOR.join(parts[:end])) for end in range(1, len(parts)))
    return any(isinstance(node, dict) and "_target_" in node for node in above)


def _check_key(key: object, path: str, *, data: bool) -> Iterator[str]:
    if isinstance(key, bool):
        yield f"the key `{key}` was on, off, yes or no; quote it or choose another name."
    elif not data and not isinstance(key, int) and re.fullmatch(r"\w+", str(key)) is None:
        yield f"the key `{key}` cannot be referred to; use letters, digits and underscores."
    elif str(key).startswith("_") and key not in CONTROL_KEYS and (path or key != META):
        yield f"the key `{key}` is unknown; of those with an underscore use {', '.join(CONTROL_KEYS)}."


def _check_text(tree: Mapping[str, Any], text: str) -> Iterator[str]:
    if _EXPONENT.fullmatch(text):
        yield f"`{text}` is text to YAML; write it as 0.001 or 1.0e-3."
    if re.match(r"\s+[@$%]", text):
        yield f"`{text}` starts with a blank and stays as it is; remove the blank."
    # A reference may name its target with the older separator.
    rest = without_references(text) if text.startswith(("$", "@")) else text
    if "#" in rest and not text.startswith("%"):
        yield f"`{text}` holds `#`, which MONAI turns into `::`; write it without."
    if text.startswith("$"):
        yield from check_expression(text)
    elif _is_literal(tree, text):
        yield f"`{text}` is no reference; write an expression that starts with `$`."


def _is_literal(tree: Mapping[str, Any], text: str) -> bool:
    """Tell whether a plain string looks as if it referred to a key of the configuration."""
    return not references(text, "") and any(n in tree for n in _LITERAL_REFERENCE.findall(text))


def _check_references(tree: Mapping[str, Any], path: str, text: str) -> Iterator[str]:
    if text.startswith("%") and not is_outside(text):
        targets = references(text, path)
        if not targets:
            yield f"`{text}` is taken as a copy of another key; do not start text with `%`."
        elif str(lookup(tree, targets[0])).startswith("%"):
            yield f"`{text}` copies a copy, which MONAI may not resolve; name the original."
    for target in references(text, path):
        if lookup(tree, normal(target)) is MISSING:
            hint = suggestion(nearest(target, tree)) or "; define it."
            yield f"`{text}` refers to `{target}`, which does not exist{hint}"


if __name__ == "__main__":
    sys.exit(main())
