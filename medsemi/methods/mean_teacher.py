"""Mean teacher: the student agrees with its own moving average under noise.

Tarvainen, Valpola: Mean teachers are better role models, NeurIPS 2017, arXiv 1703.01780. Defaults
are the medical ones (SSL4MIS, `train_mean_teacher_2D.py` and `_3D.py`).

Deviations from SSL4MIS: the teacher starts as a copy, answers in eval mode and takes the student's
batch-norm statistics (there it starts apart, keeps dropout, and has statistics of its own noisy
passes); the noise is relative to the deviation of each window (there 0.1 absolute); the teacher is
deployed, as in the paper (there the student). Its ramp takes all of its 30,000 steps, so that a
shorter training never reaches the weight; here the length has no default. In 2D it has no
consistency before step 1,000: `start_step=1000`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.consistency import consistency_form
from medsemi.parts.losses import dice_form, labeled_losses, probabilities
from medsemi.parts.noise import add_noise, draw_seeds
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.teacher import BufferRule, EmaTeacher


@dataclass(frozen=True, slots=True)
class NoiseDraws:
    """Seeds of the noise on each unlabeled window.

    Attributes:
        student: of what the student sees.
        teacher: of what the teacher sees.
    """

    student: tuple[int, ...]
    teacher: tuple[int, ...]


class MeanTeacher(Method):
    """The student learns the teacher's probabilities for unlabeled windows."""

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        consistency_weight: float = 0.1,
        start_step: int = 0,
        teacher_noise: float = 0.1,
        student_noise: float = 0.0,
        noise_clip: float = 2.0,
        consistency: str = "squared",
        ema_decay: float = 0.99,
        ema_buffers: BufferRule = "copy",
        dice: str = "linear",
        deploy: Literal["student", "teacher"] = "teacher",
    ) -> None:
        """Own the student and a teacher that starts as its copy.

        Args:
            network: the student; returns logits (batch, classes, *space).
            rampup_steps: steps until the consistency has its weight; 0.3 of a training is usual.
            consistency_weight: weight after the ramp.
            start_step: first step with a consistency.
            teacher_noise: standard deviation of the noise, see `add_noise`.
            student_noise: the same for the student; the paper has noise on both.
            noise_clip: see `add_noise`.
            consistency: `squared`, or `symmetric_cross_entropy` (Robust Mean Teacher, CVPR 2023).
            ema_decay: share of the teacher that stays at each step after the warm-up.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: which network is used for inference.

        Raises:
            ConfigError: if an option is out of its range.
        """
        super().__init__()
        check_choice(("student", "teacher"), deploy=deploy)
        check_range(0, rampup_steps=rampup_steps, start_step=start_step)
        check_range(0, consistency_weight=consistency_weight, noise_clip=noise_clip)
        check_range(0, teacher_noise=teacher_noise, student_noise=student_noise)
        self.student = network
        self.teacher = EmaTeacher(network, ema_decay, ema_buffers)
        self.rampup_steps, self.start_step = rampup_steps, start_step
        self.consistency_weight, self.consistency = (
            consistency_weight,
            consistency_form(consistency),
        )
        self.teacher_noise, self.student_noise = teacher_noise, student_noise
        self.noise_clip, self.dice, self.deploy = noise_clip, dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> NoiseDraws:
        """Draw the noise of both networks, independently."""
        count = len(both_halves(batch)[2])
        return NoiseDraws(draw_seeds(count, generator), draw_seeds(count, generator))

    def forward(self, batch: Batch, draws: NoiseDraws, step: int) -> LossTerms:
        """Return the labeled terms, and the consistency of the unlabeled windows."""
        image, label, unlabeled = both_halves(batch)
        seen = add_noise(unlabeled, draws.student, self.student_noise, self.noise_clip)
        other = add_noise(unlabeled, draws.teacher, self.teacher_noise, self.noise_clip)
        logits = self.student(torch.cat([image, seen]))
        target = probabilities(self.teacher(other))

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        terms["consistency"] = self.consistency(logits[len(image) :], target)
        ramp = sigmoid_ramp(step, self.rampup_steps) if step >= self.start_step else 0.0
        weights["consistency"] = self.consistency_weight * ramp
        return LossTerms(terms, weights)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, step)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The student learns both halves; the teacher sees the unlabeled one."""
        return {"student": Passes(learned=2), "teacher": Passes(watched=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}

    @property
    def inference_network(self) -> nn.Module:
        """The teacher in the paper; the student where `deploy` says so."""
        return self.networks[self.deploy]
