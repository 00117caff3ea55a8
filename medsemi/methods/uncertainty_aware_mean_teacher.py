"""Uncertainty-aware mean teacher: consistency where the teacher, asked repeatedly, is certain.

Yu, Wang, Li, Fu, Heng: Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium
Segmentation, MICCAI 2019, arXiv 1907.07034; constants of `train_LA_meanteacher_certainty_unlabel.py`.

Deviations from the authors' code: any number of classes, with ln(classes) for its ln 2 and the
number of classes for its 2 (SSL4MIS keeps ln 2 for four classes); the teacher answers in eval mode
and only its dropout is on for the repeated passes (there all of it is in train mode, which moves
its batch-norm statistics); these follow the student; the noise is relative to the deviation of each
window; every repeated pass has noise of its own; the length of the ramp, there the whole training,
has no default. A network without dropout leaves the noise alone to tell what is uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.errors import ConfigError
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.entropy import mean_log_probability, voxel_entropy
from medsemi.parts.foreground_loss import soft_target_loss
from medsemi.parts.losses import dice_form, labeled_losses, probabilities
from medsemi.parts.modes import dropping_out, has_dropout
from medsemi.parts.noise import add_noise, draw_seeds
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.teacher import BufferRule, EmaTeacher


@dataclass(frozen=True, slots=True)
class RepeatedNoise:
    """Seeds of the noise on unlabeled windows.

    Attributes:
        seeds: per window: of the pass that gives the target, then of each repeated one.
    """

    seeds: tuple[tuple[int, ...], ...]


class UncertaintyAwareMeanTeacher(Method):
    """A mean teacher whose uncertain voxels do not count."""

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        consistency_weight: float = 0.1,
        repeats: int = 8,
        noise: float = 0.1,
        noise_clip: float = 2.0,
        start_threshold: float = 0.75,
        ema_decay: float = 0.99,
        ema_buffers: BufferRule = "copy",
        dice: str = "linear",
        deploy: Literal["student", "teacher"] = "student",
    ) -> None:
        """Own the student and a teacher that starts as its copy.

        Args:
            network: the student, with dropout; returns logits (batch, classes, *space).
            rampup_steps: steps until the consistency has its weight and all voxels may count; the
                whole training in the paper.
            consistency_weight: weight after the ramp.
            repeats: passes of the teacher that tell its uncertainty.
            noise: standard deviation of the noise on what the teacher sees, see `add_noise`.
            noise_clip: see `add_noise`.
            start_threshold: share of the largest entropy below which a voxel counts at the start.
            ema_decay: share of the teacher that stays at each step after the warm-up.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: which network is used for inference.

        Raises:
            ConfigError: if an option is out of its range, or all passes of the teacher would be one.
        """
        super().__init__()
        check_choice(("student", "teacher"), deploy=deploy)
        check_range(0, 1, start_threshold=start_threshold)
        check_range(0, rampup_steps=rampup_steps, consistency_weight=consistency_weight)
        check_range(0, noise=noise, noise_clip=noise_clip)
        check_range(1, repeats=repeats)
        if noise == 0 and not has_dropout(network):
            raise ConfigError(
                "noise is 0 and the network has no dropout, so that repeated passes are all the same; give"
                " dropout or noise."
            )
        self.student = network
        self.teacher = EmaTeacher(network, ema_decay, ema_buffers)
        self.rampup_steps, self.consistency_weight = rampup_steps, consistency_weight
        self.repeats, self.noise, self.noise_clip = repeats, noise, noise_clip
        self.start_threshold, self.dice, self.deploy = start_threshold, dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> RepeatedNoise:
        """Draw the noise of all passes."""
        count = len(both_halves(batch)[2])
        passes = [draw_seeds(count, generator) for _ in range(1 + self.repeats)]
        return RepeatedNoise(tuple(zip(*passes, strict=True)))

    def forward(self, batch: Batch, draws: RepeatedNoise, step: int) -> LossTerms:
        """Return the labeled terms, and the consistency over certain voxels."""
        image, label, unlabeled = both_halves(batch)
        logits = self.student(torch.cat([image, unlabeled]))
        first, *repeated = zip(*draws.seeds, strict=True)
        target = probabilities(self.teacher(self.noisy(unlabeled, first)))
        with dropping_out(self.teacher.network):
            answers = [self.teacher(self.noisy(unlabeled, seeds)) for seeds in repeated]
        uncertainty = voxel_entropy(mean_log_probability(answers))
        ramp = sigmoid_ramp(step, self.rampup_steps)
        share = self.start_threshold + (1.0 - self.start_threshold) * ramp
        certain = uncertainty < share * math.log(logits.shape[1])

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        terms["consistency"] = soft_target_loss(logits[len(image) :], target, certain)
        weights["consistency"] = self.consistency_weight * ramp
        monitors = {"mask": certain.float().mean(), "uncertainty": uncertainty.mean()}
        return LossTerms(terms, weights, monitors)

    def noisy(self, image: Tensor, seeds: tuple[int, ...]) -> Tensor:
        """Return `image` with the noise of `seeds`, one per window."""
        return add_noise(image, seeds, self.noise, self.noise_clip)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, step)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The student learns both halves; the teacher sees the unlabeled one again and again."""
        return {"student": Passes(learned=2), "teacher": Passes(watched=1 + self.repeats)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}

    @property
    def inference_network(self) -> nn.Module:
        """The student in the authors' code; the teacher where `deploy` says so."""
        return self.networks[self.deploy]
