"""Which lines of a program wait for the GPU, by torch's own report."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def waits_of(run: Callable[[], None]) -> Counter[str]:
    """Lines that wait for the GPU, and how often each does."""
    if not torch.cuda.is_available():
        run()
        return Counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    lines = [one for one in told if "called a synchronizing" in str(one.message)]
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in lines)
