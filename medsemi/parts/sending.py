"""Drawn numbers on the device of the windows, without making a GPU wait.

A copy from ordinary memory waits until the GPU has done all that was queued before, and so does an
index that is a list; one from page-locked memory is queued like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def on_device(
    values: Tensor | Sequence[object], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Return numbers as a tensor on `device`.

    Args:
        values: a tensor in main memory, or nested sequences of numbers.
        device: where they are needed.
        dtype: of the result; None takes that of a tensor, and torch's choice for sequences.
    """
    table = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        table = table.pin_memory()
    return table.to(device, non_blocking=True)


def chosen(values: Tensor, places: Sequence[int]) -> Tensor:
    """Return the entries of the first axis at `places`, in that order."""
    return values.index_select(0, on_device(places, values.device, torch.long))
