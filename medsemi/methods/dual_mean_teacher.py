"""Dual mean teacher: two teachers must agree before a voxel counts as labeled.

After Guo, Ma, Su, Wang, Zhao, Zou, Sun, Zheng: Dual Mean-Teacher, NeurIPS 2023, arXiv 2403.03145,
which localizes sounding objects in video. Its idea is kept: two pairs of a student and
a teacher with different starts, a filter that drops samples on which the teachers disagree, and
pseudo-labels from what both say. What segmentation needs is a choice of this re-creation, whose
authors published no code: consensus voxel by voxel, the thresholds, the ramp, and the warm-up of a
tenth of the training. Numbers are not comparable with the paper's.

Where the teachers disagree a voxel does not count; it never becomes background. So a thin structure
can lose all supervision: watch `mask_<class>`, and where one falls below 0.3 give
`conflict_weight`, which lets the surer teacher label such voxels at that weight (after AD-MT, Zhao
et al., ECCV 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.intensity_views import IntensityDraw, IntensityViews
from medsemi.parts.label_agreement import label_agreement
from medsemi.parts.losses import dice_form, labeled_losses, probabilities
from medsemi.parts.pseudo_labels import label_monitors, pseudo_loss
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.teacher import (
    BufferRule,
    check_buffer_rule,
    frozen_copy,
    update_teacher,
    warmed_up,
)
from medsemi.parts.two_networks import NetworkPair, require_different_starts


@dataclass(frozen=True, slots=True)
class PairDraws:
    """The strong view of the unlabeled windows that each student sees.

    Attributes:
        views: of student a, of student b.
    """

    views: tuple[IntensityDraw, IntensityDraw]


class DualMeanTeacher(Method):
    """Two students learn what both teachers say, each on its own strong view."""

    same_at_every_scale = ("strong",)

    def __init__(
        self,
        network: nn.Module,
        network_b: nn.Module,
        *,
        warmup_steps: int,
        rampup_steps: int,
        threshold: float = 0.8,
        sample_threshold: float = 0.5,
        conflict_weight: float = 0.0,
        pseudo_weight: float = 1.0,
        dice_weight: float = 0.5,
        views: IntensityViews | None = None,
        ema_decay: float = 0.99,
        ema_buffers: BufferRule = "copy",
        dice: str = "linear",
        deploy: Literal["teacher_a", "teachers"] = "teachers",
    ) -> None:
        """Own both students, and a teacher of each that starts as its copy.

        Args:
            network: student a; returns logits (batch, classes, *space).
            network_b: student b, of other weights and better of another architecture.
            warmup_steps: steps with labels alone; a tenth of the training.
            rampup_steps: steps after these until pseudo-labels have their weight; 0.3 of it.
            threshold: probability that both teachers must reach.
            sample_threshold: Dice of both teachers' foregrounds below which a window is dropped.
            conflict_weight: weight of voxels on which they disagree; 0 ignores them.
            pseudo_weight: weight of pseudo-labels after the ramp.
            dice_weight: share of the Dice in their loss; the rest is cross entropy.
            views: how intensities are changed; None is `IntensityViews()`.
            ema_decay: share of a teacher that stays at each step after the warm-up of `warmed_up`.
            ema_buffers: what their batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: `teachers`, the mean of both teachers' probabilities at twice the cost, or
                `teacher_a`.

        Raises:
            ConfigError: if an option is out of its range, both networks have the same weights, or
                batch-norm statistics of their teachers would never move.
        """
        super().__init__()
        check_choice(("teacher_a", "teachers"), deploy=deploy)
        check_range(0, 1, threshold=threshold, sample_threshold=sample_threshold)
        check_range(0, 1, conflict_weight=conflict_weight, dice_weight=dice_weight)
        check_range(0, 1, ema_decay=ema_decay)
        check_range(0, warmup_steps=warmup_steps, rampup_steps=rampup_steps)
        check_range(0, pseudo_weight=pseudo_weight)
        require_different_starts(network, network_b)
        for student in (network, network_b):
            check_buffer_rule(ema_buffers, student)
        self.student_a, self.student_b = network, network_b
        self.teachers = NetworkPair(frozen_copy(network), frozen_copy(network_b)).eval()
        self.warmup_steps, self.rampup_steps = warmup_steps, rampup_steps
        self.threshold, self.sample_threshold = threshold, sample_threshold
        self.conflict_weight, self.pseudo_weight = conflict_weight, pseudo_weight
        self.dice_weight, self.views = dice_weight, views or IntensityViews()
        self.ema_decay, self.ema_buffers = ema_decay, ema_buffers
        self.dice, self.deploy = dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> PairDraws:
        """Draw two strong views, independently."""
        count = len(both_halves(batch)[2])
        return PairDraws((self.views.draw(count, generator), self.views.draw(count, generator)))

    def forward(self, batch: Batch, draws: PairDraws, step: int) -> LossTerms:
        """Return the labeled terms of both students, and after the warm-up those of consensus."""
        image, label, unlabeled = both_halves(batch)
        count, warm = len(image), step >= self.warmup_steps
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        monitors: dict[str, Tensor] = {}
        if warm:
            with torch.no_grad():
                answers = [self.teachers.first(unlabeled), self.teachers.second(unlabeled)]
            target, weight, monitors = self.consensus(answers)
        for name, view in zip("ab", draws.views, strict=True):
            student = self.student_a if name == "a" else self.student_b
            seen = [image, self.strong(unlabeled, view)] if warm else [image]
            logits = student(torch.cat(seen))
            losses = labeled_losses(logits[:count], label, self.dice)
            terms |= {f"{term}_{name}": loss for term, loss in losses.items()}
            weights |= {f"{term}_{name}": 0.5 for term in losses}
            if warm:
                terms[f"pseudo_{name}"] = pseudo_loss(
                    logits[count:], target, weight, dice=self.dice, dice_weight=self.dice_weight
                )
                ramp = sigmoid_ramp(step - self.warmup_steps, self.rampup_steps)
                weights[f"pseudo_{name}"] = self.pseudo_weight * ramp
        return LossTerms(terms, weights, monitors)

    def strong(self, image: Tensor, draw: IntensityDraw) -> Tensor:
        """Return the strong view of `image`."""
        return self.views.apply(image, draw)

    def consensus(self, answers: list[Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the label of each voxel, its weight, and what is monitored.

        Args:
            answers: logits of teacher a and of teacher b, shape (batch, classes, *space).
        """
        (sure_a, label_a), (sure_b, label_b) = (probabilities(z).max(1) for z in answers)
        agree = label_a == label_b
        target = torch.where(sure_a >= sure_b, label_a, label_b)
        both_sure = agree & (torch.minimum(sure_a, sure_b) >= self.threshold)
        one_sure = ~agree & (torch.maximum(sure_a, sure_b) >= self.threshold)
        overlap = torch.stack(
            [label_agreement(a, b) for a, b in zip(label_a, label_b, strict=True)]
        )
        kept = (overlap >= self.sample_threshold).view(-1, *[1] * (target.ndim - 1))
        weight = kept * (both_sure.float() + self.conflict_weight * one_sure)
        monitors = label_monitors(target, weight, answers[0].shape[1])
        monitors |= {"teacher_agreement": overlap.mean(), "kept_samples": kept.float().mean()}
        return target, weight, monitors

    def after_step(self, step: int) -> None:
        """Move each teacher towards its own student."""
        decay = warmed_up(self.ema_decay, step)
        update_teacher(self.teachers.first, self.student_a, decay, self.ema_buffers)
        update_teacher(self.teachers.second, self.student_b, decay, self.ema_buffers)

    def train(self, mode: bool = True) -> DualMeanTeacher:
        """Switch the students; the teachers answer as they will when they are deployed."""
        super().train(mode)
        self.teachers.eval()
        return self

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Each student learns the labeled half and a strong view; each teacher labels one half."""
        student, teacher = Passes(learned=2), Passes(watched=1)
        return {
            "student_a": student,
            "student_b": student,
            "teacher_a": teacher,
            "teacher_b": teacher,
        }

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Both students, both teachers, and the two teachers together."""
        return {
            "student_a": self.student_a,
            "student_b": self.student_b,
            "teacher_a": self.teachers.first,
            "teacher_b": self.teachers.second,
            "teachers": self.teachers,
        }

    @property
    def inference_network(self) -> nn.Module:
        """Both teachers together; one of them where `deploy` says so."""
        return self.networks[self.deploy]
