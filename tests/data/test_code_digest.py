"""The digest of code tells what it does, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from medsemi.data.code_digest import class_digest, code_digest

PROGRAM = """
from medsemi.data.code_digest import code_digest
def inside(x):
    return x in {"a", "b", "c", "d", "e"} and (1, 2.0, None, ...)
print(code_digest(inside.__code__))
"""


def test_it_is_the_same_in_every_process() -> None:
    """Sets of texts have another order in each."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


def test_where_a_function_stands_does_not_matter() -> None:
    one, other = compile("x * 2", "a.py", "eval"), compile("\n\nx * 2", "b.py", "eval")
    assert code_digest(one) == code_digest(other)


def test_methods_of_every_kind_count() -> None:
    class Base:
        @staticmethod
        def still() -> int:
            return 1

        @property
        def known(self) -> int:
            return 1

    class Still(Base):
        @staticmethod
        def still() -> int:
            return 2

    class Known(Base):
        @property
        def known(self) -> int:
            return 2

    class Same(Base): ...

    assert len({class_digest(kind) for kind in (Base, Still, Known)}) == 3
    assert class_digest(Base) == class_digest(Same)
