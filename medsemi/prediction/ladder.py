"""The memory ladder: ways to segment the same volume, from the fastest to the smallest.

| mode | windows at once | network | volume and sums of scores | labels |
|---|---|---|---|---|
| 0 | 4 | GPU | GPU, float32 | GPU |
| 1 | 1 | GPU | GPU, float16 | GPU |
| 2 | 1 | GPU or CPU | CPU, float32 | CPU |
| 3 | 1 | GPU or CPU | CPU, float16 | CPU |
| 4 | 1 | CPU | CPU, float16 | CPU |

In every mode the sums of scores cover one band of windows, see `medsemi.prediction.windows`; labels of
the planes behind it are decided already. Without a GPU there are modes 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.host_memory import free_host_bytes
from medsemi.prediction.memory import free_bytes

# The part of free memory that an estimate may fill.
USABLE = 0.8
# Copies of a window's activations: convolution libraries take as much again for their workspace.
WORKSPACE = 2
# Score planes, parts of bands and blocks of label voxels that are in work at any time.
OVERHEAD_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class MemoryMode:
    """One way to spend memory.

    Attributes:
        number: in the table above.
        batch: windows at once.
        network_on_cpu: even where there is a GPU.
        volume_on_cpu: the working volume, sums of scores, and the decision of labels.
        half: whether sums of scores are float16.
    """

    number: int
    batch: int
    network_on_cpu: bool
    volume_on_cpu: bool
    half: bool


MODES = (
    MemoryMode(0, 4, network_on_cpu=False, volume_on_cpu=False, half=False),
    MemoryMode(1, 1, network_on_cpu=False, volume_on_cpu=False, half=True),
    MemoryMode(2, 1, network_on_cpu=False, volume_on_cpu=True, half=False),
    MemoryMode(3, 1, network_on_cpu=False, volume_on_cpu=True, half=True),
    MemoryMode(4, 1, network_on_cpu=True, volume_on_cpu=True, half=True),
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What determines the memory of a case.

    Attributes:
        working: shape of the working grid.
        window: size of the windows in it.
        axis: along which bands follow each other.
        classes: with the background.
        activations: bytes that the network holds for one window, float32.
        results: bytes of label maps and probabilities in main memory.
    """

    working: tuple[int, int, int]
    window: tuple[int, int, int]
    axis: int
    classes: int
    activations: int
    results: int

    def split(self, mode: MemoryMode) -> tuple[int, int]:
        """Bytes that a mode takes: in main memory, and on the GPU where there is one.

        Not counted is what is there already: the weights and the volume as it was read.
        """
        network = self.activations * WORKSPACE * mode.batch
        network += 3 * 4 * mode.batch * self.classes * prod(self.window)  # scores, their softmax
        edges = [max(n, w) for n, w in zip(self.working, self.window, strict=True)]
        edges[self.axis] = self.window[self.axis]
        band = prod(edges) * (4 + self.classes * (2 if mode.half else 4))
        volume = 2 * 4 * prod(self.working) + band + OVERHEAD_BYTES
        on_cpu, on_gpu = self.results, 0
        for size, cpu in ((network, mode.network_on_cpu), (volume, mode.volume_on_cpu)):
            on_cpu, on_gpu = (on_cpu + size, on_gpu) if cpu else (on_cpu, on_gpu + size)
        return on_cpu, on_gpu


def modes_for(device: torch.device) -> tuple[MemoryMode, ...]:
    """The ladder of a device."""
    return MODES if device.type == "cuda" else MODES[2:4]


def fitting_modes(
    modes: Sequence[MemoryMode], demand: Demand, device: torch.device
) -> Sequence[MemoryMode]:
    """The rest of a ladder, from the first mode that fits free memory with a reserve.

    Args:
        modes: from the fastest to the smallest.
        demand: of the case.
        device: of the network.

    Raises:
        CaseRefused: R11, if not even the smallest mode fits without a reserve.
    """
    host = free_host_bytes()
    gpu = free_bytes(device) if device.type == "cuda" else 0

    def shortage(mode: MemoryMode, usable: float) -> tuple[int, int] | None:
        on_cpu, on_gpu = demand.split(mode)
        if device.type != "cuda":
            on_cpu, on_gpu = on_cpu + on_gpu, 0
        for needed, free in ((on_cpu, host), (on_gpu, gpu)):
            if needed > usable * free:
                return needed, free
        return None

    for first, mode in enumerate(modes):
        if shortage(mode, USABLE) is None:
            return modes[first:]
    short = shortage(modes[-1], 1.0)
    if short is not None:
        needed, free = (f"{size / 1e9:.1f}" for size in short)
        raise CaseRefused("R11", needed=needed, free=free)
    return modes[-1:]
