"""A teacher: the exponential moving average of a student."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

BufferRule = Literal["keep", "average", "copy"]


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return an independent copy of `network` whose parameters take no gradient.

    Raises:
        ValueError: if the network holds parameters that have no values yet (lazy modules).
    """
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        msg = "A network with lazy modules cannot be copied: run it once before it gets a teacher."
        raise ValueError(msg)
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, decay: float, buffers: BufferRule
) -> None:
    """Move the teacher towards the student: teacher <- decay * teacher + (1 - decay) * student.

    Args:
        teacher: what is changed, in place.
        student: the network it follows, of the same structure.
        decay: share of the old teacher that stays, in [0, 1].
        buffers: what happens to batch-norm statistics: `keep` leaves the teacher's own, `average`
            treats them like parameters (integer counters are averaged as numbers and truncated),
            `copy` takes the student's.

    Source: BCP, `utils/BCP_utils.py` (update_ema_variables) for `keep` and `ACDC_BCP_train.py`
    (update_model_ema) for `average`.
    """
    weight = 1.0 - decay
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), weight)
    if buffers == "keep":
        return
    share = weight if buffers == "average" else 1.0
    for mine, other in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(_blend(mine, other, share))


def _blend(mine: Tensor, other: Tensor, share: float) -> Tensor:
    if mine.is_floating_point():
        return torch.lerp(mine, other, share)
    return (mine.double() * (1.0 - share) + other.double() * share).to(mine.dtype)
