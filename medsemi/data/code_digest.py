"""Digests of what functions and classes do, so that an edit under the same name is noticed.

What they call is not followed: it is told by versions where it is of a library.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType


def code_digest(code: CodeType) -> str:
    """SHA-256 (hex) of instructions, constants and names, also of functions inside; not of line numbers."""
    return hashlib.sha256(repr(_content(code)).encode()).hexdigest()


def class_digest(kind: type) -> str:
    """SHA-256 (hex) of the code of all methods, inherited ones too."""
    content = [(name, code_digest(method.__code__)) for name, method in _methods(kind)]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _content(constant: object) -> object:
    """A constant as its text is the same in every process."""
    if isinstance(constant, CodeType):
        return constant.co_code, _content(constant.co_consts), constant.co_names
    if isinstance(constant, tuple):
        return [_content(each) for each in constant]
    if isinstance(constant, frozenset):  # in another order in each process
        return "set", sorted(repr(_content(each)) for each in constant)
    return type(constant).__name__, repr(constant)


def _methods(kind: type) -> Iterator[tuple[str, FunctionType]]:
    for owner in kind.__mro__:
        for name, member in sorted(vars(owner).items()):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            function = inspect.unwrap(function) if callable(function) else function
            if isinstance(function, FunctionType):
                yield name, function
