"""A teacher: the exponential moving average of a student, or of several that share one start."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from medsemi.errors import ConfigError
from medsemi.parts.checked_options import check_choice, check_range

BufferRule = Literal["keep", "average", "copy"]
BUFFER_RULES = ("keep", "average", "copy")


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return an independent copy of `network` whose parameters take no gradient.

    Raises:
        ConfigError: if the network holds parameters that have no values yet (lazy modules).
    """
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        msg = "A network with lazy modules cannot be copied: run it once before it gets a teacher."
        raise ConfigError(msg)
    return copy.deepcopy(network).requires_grad_(False)


def check_buffer_rule(rule: str, network: nn.Module) -> None:
    """Refuse a teacher that answers in eval mode with statistics that nothing ever moves.

    Args:
        rule: what batch-norm statistics follow, see `update_teacher`.
        network: what the teacher follows.

    Raises:
        ConfigError: if there is no such rule, or the teacher would keep its own and the network has
            some.
    """
    check_choice(BUFFER_RULES, ema_buffers=rule)
    if rule == "keep" and _has_statistics(network):
        raise ConfigError(
            "ema_buffers keep leaves the batch-norm statistics of a teacher that answers in eval mode"
            " as they are at its start; give ema_buffers average or copy."
        )


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, decay: float, buffers: BufferRule
) -> None:
    """Move the teacher towards the student: teacher <- decay * teacher + (1 - decay) * student.

    Args:
        teacher: what is changed, in place.
        student: the network it follows, of the same structure.
        decay: share of the old teacher that stays, in [0, 1].
        buffers: what happens to batch-norm statistics: `keep` leaves the teacher's own, which only
            a teacher in train mode moves, `average` treats them like parameters (integer counters
            are averaged as numbers and truncated), `copy` takes the student's.

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


def update_common_teacher(
    teacher: nn.Module,
    students: Sequence[tuple[nn.Module, float]],
    decay: float,
    buffers: BufferRule,
) -> None:
    """Move one teacher towards the weighted mean of several students.

    teacher <- decay * teacher + (1 - decay) * sum of share * student

    Args:
        teacher: what is changed, in place.
        students: of the same structure, each with its share; shares add up to 1. A mean of networks
            that started apart is no network at all, unless nearly all of it is one of them.
        decay: share of the old teacher that stays, in [0, 1].
        buffers: as in `update_teacher`; with `copy` they are those of the last student that counts.
    """
    # A running mean, so that no mean of the students has to be kept.
    total = decay
    for student, share in students:
        part = (1.0 - decay) * share
        total += part
        if part > 0.0:
            update_teacher(teacher, student, 1.0 - part / total, buffers)


def warmed_up(decay: float, step: int) -> float:
    """Return min(1 - 1 / (step + 1), decay): the first step copies, later ones average.

    Source: Tarvainen, Valpola: Mean teachers are better role models, NeurIPS 2017, in their code.
    """
    return min(1.0 - 1.0 / (step + 1), decay)


def of_latest(decay: float, step: int) -> float:
    """Return min((1 + step) / (10 + step), decay): an average of the latest tenth of all steps.

    For the weights that are deployed: after a short training the average of all of its steps,
    which `warmed_up` begins with, is far behind the network that it follows.

    Source: `tf.train.ExponentialMovingAverage` with `num_updates`.
    """
    return min((1.0 + step) / (10.0 + step), decay)


class EmaTeacher(nn.Module):
    """The moving average of one student; it answers in eval mode, as it will when deployed."""

    def __init__(
        self,
        student: nn.Module,
        decay: float,
        buffer_rule: BufferRule,
        warm_up: Callable[[float, int], float] = warmed_up,
    ) -> None:
        """Start as a copy of the student.

        Args:
            student: what it follows.
            decay: share that stays at each step, after the warm-up.
            buffer_rule: what batch-norm statistics follow, see `update_teacher`.
            warm_up: the share that stays, from decay and step: `warmed_up` or `of_latest`.

        Raises:
            ConfigError: if `decay` is not within 0 to 1, or its statistics would never move, see
                `check_buffer_rule`.
        """
        super().__init__()
        check_buffer_rule(buffer_rule, student)
        check_range(0, 1, ema_decay=decay)
        self.network = frozen_copy(student).eval()
        self.decay, self.buffer_rule, self.warm_up = decay, buffer_rule, warm_up

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return logits without a graph."""
        logits: Tensor = self.network(image)
        return logits

    def follow(self, student: nn.Module, step: int) -> None:
        """Move towards the student, after `step` of the optimizer."""
        share = self.warm_up(self.decay, step)
        update_teacher(self.network, student, share, self.buffer_rule)

    def train(self, mode: bool = True) -> EmaTeacher:
        """Stay in eval mode."""
        return super().train(False)


def _has_statistics(network: nn.Module) -> bool:
    return any(
        isinstance(part, _NormBase) and part.running_mean is not None for part in network.modules()
    )


def _blend(mine: Tensor, other: Tensor, share: float) -> Tensor:
    if mine.is_floating_point():
        return torch.lerp(mine, other, share)
    return (mine.double() * (1.0 - share) + other.double() * share).to(mine.dtype)
