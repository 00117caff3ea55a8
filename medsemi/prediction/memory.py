"""How much memory a device has free, and how much a network takes for one window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medsemi.prediction.host_memory import free_host_bytes

# Text of allocation failures that torch raises as plain RuntimeError.
OUT_OF_MEMORY = (
    "not enough memory",
    "defaultcpuallocator",
    "out of memory",
    "cublas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the GPU or beside it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in OUT_OF_MEMORY)


def free_bytes(device: torch.device) -> int:
    """Bytes that may still be allocated on a device; for the CPU see `free_host_bytes`."""
    if device.type == "cpu":
        return free_host_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + cached


def activation_bytes(
    network: nn.Module, window: Sequence[int]
) -> tuple[int, tuple[int, ...] | None]:
    """Peak of what a network holds for one window, computed without memory and without time.

    The network runs on the meta device, where tensors have shapes and no values.

    Args:
        network: takes (1, 1, *window).
        window: size along each axis.

    Returns:
        Bytes in float32, and the shape of the output; shape None if the output is no tensor.

    Raises:
        Exception: whatever the network raises, also where it cannot run without values.
    """
    shadow = deepcopy(network).to("meta").eval()
    with torch.inference_mode(), _LiveBytes() as live:
        output = shadow(torch.empty((1, 1, *window), device="meta"))
    return live.peak, tuple(output.shape) if isinstance(output, Tensor) else None


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that are alive; `peak` is the most at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._users: Counter[int] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  (an operator of torch)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._born(tensor)
        return output

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._users[key]:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._users[key] += 1
        finalize(tensor, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            self._now -= size
