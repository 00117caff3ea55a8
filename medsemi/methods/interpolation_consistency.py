"""Interpolation consistency: what the student says of a mixture is the mixture of what is said.

Verma, Lamb, Kannala, Bengio, Lopez-Paz: Interpolation Consistency Training for Semi-Supervised
Learning, IJCAI 2019, arXiv 1903.03825. Constants of SSL4MIS
(`train_interpolation_consistency_training_2D.py`).

Deviations from SSL4MIS: every unlabeled window is mixed with another one, whatever the sizes of
both halves (there the first half of them with the second); a share per window; the teacher starts
as a copy, answers in eval mode, takes the student's batch-norm statistics, and is deployed, as in
the paper; the length of the ramp, there the whole training, has no default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_positive, check_range
from medsemi.parts.consistency import squared_difference
from medsemi.parts.losses import dice_form, labeled_losses, probabilities
from medsemi.parts.mixing import blend, draw_partners, draw_shares
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.sending import chosen
from medsemi.parts.teacher import BufferRule, EmaTeacher


@dataclass(frozen=True, slots=True)
class MixtureDraws:
    """How unlabeled windows are mixed.

    Attributes:
        partner: the other window of each.
        shares: of the other window.
    """

    partner: tuple[int, ...]
    shares: tuple[float, ...]


class InterpolationConsistency(Method):
    """The student learns, for mixtures of unlabeled windows, the mixture of the teacher's words."""

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        consistency_weight: float = 0.1,
        alpha: float = 0.2,
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
            alpha: shares are drawn from Beta(alpha, alpha).
            ema_decay: share of the teacher that stays at each step after the warm-up.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: which network is used for inference.

        Raises:
            ConfigError: if an option is out of its range.
        """
        super().__init__()
        check_choice(("student", "teacher"), deploy=deploy)
        check_range(0, rampup_steps=rampup_steps, consistency_weight=consistency_weight)
        check_positive(alpha=alpha)
        self.student = network
        self.teacher = EmaTeacher(network, ema_decay, ema_buffers)
        self.rampup_steps, self.consistency_weight = rampup_steps, consistency_weight
        self.alpha, self.dice, self.deploy = alpha, dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> MixtureDraws:
        """Draw a partner and a share for each unlabeled window."""
        count = len(both_halves(batch)[2])
        return MixtureDraws(
            draw_partners(count, generator), draw_shares(count, self.alpha, generator)
        )

    def forward(self, batch: Batch, draws: MixtureDraws, step: int) -> LossTerms:
        """Return the labeled terms, and the consistency of the mixtures."""
        image, label, unlabeled = both_halves(batch)
        said = probabilities(self.teacher(unlabeled))
        mixture = blend(unlabeled, chosen(unlabeled, draws.partner), draws.shares)
        logits = self.student(torch.cat([image, mixture]))

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        target = blend(said, chosen(said, draws.partner), draws.shares)
        terms["consistency"] = squared_difference(logits[len(image) :], target)
        weights["consistency"] = self.consistency_weight * sigmoid_ramp(step, self.rampup_steps)
        return LossTerms(terms, weights)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, step)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The student learns labeled windows and mixtures; the teacher sees unlabeled ones."""
        return {"student": Passes(learned=2), "teacher": Passes(watched=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}

    @property
    def inference_network(self) -> nn.Module:
        """The teacher in the paper; the student where `deploy` says so."""
        return self.networks[self.deploy]
