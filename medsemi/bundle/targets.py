"""What a configuration names in Python: components (`_target_`), imports and expressions.

Modules are imported and signatures compared; nothing is called and no expression is evaluated.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pydoc
import warnings
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from medsemi.bundle.merged import suggestion
from medsemi.bundle.references import without_references

CONTROL_KEYS = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_")
_MODES = ("default", "callable", "debug")


def check_component(component: Mapping[Any, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in a mapping with `_target_`.

    Args:
        component: the mapping; all keys but the five control keys are arguments of the target.
    """
    target = component["_target_"]
    disabled, mode = component.get("_disabled_", False), component.get("_mode_", "default")
    if not isinstance(disabled, bool) and not str(disabled).startswith(("$", "@")):
        yield f"`_disabled_: {disabled}` does not disable anything; write true or false."
    if mode not in _MODES:
        yield f"`_mode_: {mode}` is none of {', '.join(_MODES)}; write one of them."
    if not isinstance(target, str) or target.startswith(("$", "@")):
        return
    found = locate(target)
    if found is None:
        yield f"`{target}` cannot be imported; check the spelling and what is installed."
    elif callable(found):
        names = [str(key) for key in component if key not in CONTROL_KEYS]
        yield from _check_arguments(target, found, names, partial=mode == "callable")


def check_expression(text: str) -> Iterator[str]:
    """Yield a sentence for each mistake in an expression or import that Python can parse.

    Args:
        text: a value that starts with `$`.
    """
    try:
        statement = ast.parse(without_references(text[1:]).strip()).body
    except SyntaxError as error:
        yield f"`{text}` is not Python ({error.msg}); mend the expression."
        return
    if len(statement) == 1 and isinstance(statement[0], (ast.Import, ast.ImportFrom)):
        yield from _check_import(statement[0], text)
    elif len(statement) != 1 or not isinstance(statement[0], ast.Expr):
        yield f"`{text}` is not one Python expression; write one."
    elif "import" in text and "@" in text:
        yield f"`{text}` holds the letters `import` beside a reference, which MONAI cannot parse; rename."


def locate(target: str) -> object | None:
    """Find a class or function by its dotted path, or by its short name within MONAI.

    Args:
        target: such as `medsemi.networks.vnet.VNet` or `SlidingWindowInferer`.

    Returns:
        The object, or None if there is none or its module cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "." not in target:
            target = _long_name(target) or target
        try:
            return pydoc.locate(target)
        except pydoc.ErrorDuringImport:
            return None


def _long_name(name: str) -> str | None:
    from monai.bundle import ComponentLocator

    module = ComponentLocator().get_component_module_name(name)
    if isinstance(module, list):
        module = module[0]
    return f"{module}.{name}" if module else None


def _check_arguments(
    target: str, found: Callable[..., object], names: list[str], *, partial: bool
) -> Iterator[str]:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # written in C without a signature
        return
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in names:
            if name not in signature.parameters:
                close = get_close_matches(name, list(signature.parameters), n=1)
                hint = suggestion(close[0] if close else None) or "; remove it."
                yield f"`{target}` takes no argument `{name}`{hint}"
        names = [name for name in names if name in signature.parameters]
    try:
        (signature.bind_partial if partial else signature.bind)(**dict.fromkeys(names))
    except TypeError as error:
        yield f"`{target}` cannot be called as written ({error}); add what it needs."


def _check_import(node: ast.Import | ast.ImportFrom, text: str) -> Iterator[str]:
    first = node.names[0]
    if len(node.names) > 1:
        yield f"`{text}` binds only `{first.name}`; write one entry for each name."
    if isinstance(node, ast.Import) and "." in first.name and first.asname is None:
        above, _, last = first.name.rpartition(".")
        yield f"`{text}` binds no usable name; write `$from {above} import {last}`."
    module = first.name if isinstance(node, ast.Import) else str(node.module)
    if not _is_installed(module):
        yield f"module `{module}` cannot be found; install it or check the spelling."
    elif isinstance(node, ast.ImportFrom) and locate(f"{module}.{first.name}") is None:
        yield f"`{module}` holds no `{first.name}`; check the spelling."


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
