"""Every method on a GPU: the numbers of the CPU, half precision, and no step that waits for the GPU."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medsemi.seeds import derive_generator

pytestmark = pytest.mark.gpu
EVERY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("every_method.py"))))
WAITS = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "gpu_waits.py"))
)
GPU = torch.device("cuda")
# A relative error of TF32, which convolutions of a GPU take for float32 by default, is about 3e-4.
TOLERANCE = {None: 2e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}


@pytest.fixture(params=EVERY.METHODS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("dims", [(2, 3), (3, 2)], ids=["2D", "3D"])
@pytest.mark.parametrize("precision", TOLERANCE, ids=["float32", "bf16", "fp16"])
def test_losses_are_those_of_the_cpu(
    name: str, dims: tuple[int, int], precision: torch.dtype | None
) -> None:
    here = EVERY.METHODS[name](EVERY.network_of(*dims))
    there = copy.deepcopy(here).to(GPU)
    batch = EVERY.batch_of(*dims)
    draws = here.draw(batch, derive_generator(5))
    expected = here(batch, draws, 0)
    with torch.autocast("cuda", precision, enabled=precision is not None):
        found = there(batch.to(GPU), draws, 0)
    assert all(term.dtype == torch.float32 for term in found.terms.values())
    # Noise is drawn on the device, so that terms with noise are of the same size, and not equal.
    noisy = any(getattr(here, kind, 0) for kind in ("teacher_noise", "student_noise", "noise"))
    for term, value in expected.terms.items():
        limit = 0.5 * value.item() + 1e-3 if noisy else TOLERANCE[precision] * (1 + value.item())
        assert abs(found.terms[term].item() - value.item()) <= limit, term
    found.total.backward()
    trained = [p for p in there.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained)
    there.after_step(0)


def test_a_step_does_not_wait_for_the_gpu(name: str) -> None:
    method = EVERY.METHODS[name](EVERY.network_of(3, 2)).to(GPU)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01)
    batch = EVERY.batch_of(3, 2).pin_memory().to(GPU)

    def train(step: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        method(batch, drawn[step], step).total.backward()
        optimizer.step()
        method.after_step(step)

    drawn = [method.draw(batch, derive_generator(step)) for step in range(3)]
    train(0)  # the first one fills caches
    waits = WAITS.waits_of(lambda: (train(1), train(2)))
    assert not waits, f"{name} waits: {dict(waits)}"
