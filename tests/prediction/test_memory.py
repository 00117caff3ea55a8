"""What a network holds, and which errors mean that memory ran out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medsemi.prediction.memory import activation_bytes, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
        (OSError("No space left on device"), False),
    ],
)  # fmt: skip
def test_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_failed_allocation_is_recognized() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failed.value)


def test_activations_are_what_lives_at_the_same_time() -> None:
    voxels = 4 * 8**3
    chain = nn.Sequential(*[nn.Conv3d(1 if n == 0 else 5, 5, 1) for n in range(6)])
    # The image, and input and output of a layer, in a chain of any length.
    assert activation_bytes(chain, (8, 8, 8)) == (11 * voxels, (1, 5, 8, 8, 8))

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv3d(1, 5, 1), nn.Conv3d(5, 5, 1)

        def forward(self, image: Tensor) -> Tensor:
            first = self.first(image)
            second = self.second(first)
            return torch.cat([first, second, first], dim=1)

    assert activation_bytes(Skip(), (8, 8, 8))[0] >= 25 * voxels


def test_an_output_that_is_no_tensor_has_no_shape() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image, image

    assert activation_bytes(Two(), (4, 4, 4))[1] is None


def test_the_network_stays_as_it_was() -> None:
    network = nn.Conv3d(1, 2, 1)
    activation_bytes(network, (4, 4, 4))
    assert network.weight.device.type == "cpu"
