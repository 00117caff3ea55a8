"""UniMatch V2: a teacher's sure labels, learned on two strong views with complementary features.

Yang, Zhao, Zhao: UniMatch V2, arXiv 2410.10777, after UniMatch (Yang, Qi, Feng, Zhang, Shi, CVPR
2023, arXiv 2208.09910), whose medical form gives the strong views and the Dice loss
(`more-scenarios/medical/unimatch.py`). V2 differs from UniMatch in this: an EMA teacher makes the
labels; the boxes of CutMix come from the same batch; features are dropped in the strong views, in
one what the other keeps, and not in a third pass.

Deviations from both: the labeled terms weigh 1 and the two views one half each (the authors halve
the sum, which is the learning rate); V2 drops the last features of its transformer, here those that
the named part of any network returns, all scales together; the whole batch is one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.channel_drop import ChannelDrop, Channels
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.copy_paste import Box, draw_boxes, mix, outside_masks
from medsemi.parts.intensity_views import IntensityDraw, IntensityViews
from medsemi.parts.losses import dice_form, labeled_losses
from medsemi.parts.mixing import draw_partners
from medsemi.parts.noise import draw_seeds
from medsemi.parts.pseudo_labels import confident_labels, label_monitors, pseudo_loss
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.sending import chosen
from medsemi.parts.teacher import BufferRule, EmaTeacher


@dataclass(frozen=True, slots=True)
class ViewDraws:
    """One strong view of each unlabeled window.

    Attributes:
        intensity: how its intensities are changed.
        boxes: where it receives the content of its partner.
        channels: which features are kept.
    """

    intensity: IntensityDraw
    boxes: tuple[Box, ...]
    channels: tuple[Channels, ...]


@dataclass(frozen=True, slots=True)
class UniMatchDraws:
    """The random decisions of a step.

    Attributes:
        views: the two strong views.
        partner: the window that each unlabeled one receives a box from.
    """

    views: tuple[ViewDraws, ViewDraws]
    partner: tuple[int, ...]


class UniMatch(Method):
    """The student learns the teacher's sure voxels on two strong views."""

    same_at_every_scale = ("strong",)

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int = 0,
        threshold: float = 0.95,
        pseudo_weight: float = 1.0,
        dice_weight: float = 1.0,
        views: IntensityViews | None = None,
        box_probability: float = 0.5,
        features: str = "encoder",
        feature_drop: float = 0.5,
        ema_decay: float = 0.996,
        ema_buffers: BufferRule = "average",
        dice: str = "linear",
        deploy: Literal["student", "teacher"] = "teacher",
    ) -> None:
        """Own the student and a teacher that starts as its copy.

        Args:
            network: the student; returns logits (batch, classes, *space).
            rampup_steps: steps until pseudo-labels have their weight; the paper has no ramp.
            threshold: probability from which on a voxel counts.
            pseudo_weight: weight of pseudo-labels after the ramp.
            dice_weight: share of the Dice in their loss; 1 in the medical form, 0 in the other.
            views: how intensities are changed; None is `IntensityViews()`.
            box_probability: that a strong view receives a box of another window.
            features: the part of `network` whose output loses channels.
            feature_drop: share of the windows that lose them.
            ema_decay: share of the teacher that stays at each step after the warm-up.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: which network is used for inference.

        Raises:
            ConfigError: if an option is out of its range, or the network has no part called
                `features`.
        """
        super().__init__()
        check_choice(("student", "teacher"), deploy=deploy)
        check_range(0, 1, threshold=threshold, dice_weight=dice_weight)
        check_range(0, 1, box_probability=box_probability, feature_drop=feature_drop)
        check_range(0, rampup_steps=rampup_steps, pseudo_weight=pseudo_weight)
        self.student = network
        self.teacher = EmaTeacher(network, ema_decay, ema_buffers)
        self.channel_drop = ChannelDrop(network, features)
        self.rampup_steps, self.threshold = rampup_steps, threshold
        self.pseudo_weight, self.dice_weight = pseudo_weight, dice_weight
        self.views, self.box_probability = views or IntensityViews(), box_probability
        self.feature_drop, self.dice, self.deploy = feature_drop, dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> UniMatchDraws:
        """Draw two strong views for each unlabeled window."""
        unlabeled = both_halves(batch)[2]
        count, space = len(unlabeled), unlabeled.shape[2:]
        drops = (torch.rand(count, generator=generator) < self.feature_drop).tolist()
        seeds = draw_seeds(count, generator)
        kept = [s if dropped else None for s, dropped in zip(seeds, drops, strict=True)]
        first, second = (
            ViewDraws(
                self.views.draw(count, generator),
                draw_boxes(count, space, generator, probability=self.box_probability),
                tuple(Channels(seed, complement) for seed in kept),
            )
            for complement in (False, True)
        )
        return UniMatchDraws((first, second), draw_partners(count, generator))

    def forward(self, batch: Batch, draws: UniMatchDraws, step: int) -> LossTerms:
        """Return the labeled terms, and the loss of each strong view where the teacher is sure."""
        image, label, unlabeled = both_halves(batch)
        pseudo, sure = confident_labels(self.teacher(unlabeled), self.threshold)
        mixes = [self.strong(unlabeled, pseudo, sure, view, draws.partner) for view in draws.views]
        kept = [Channels()] * len(image) + [c for view in draws.views for c in view.channels]
        with self.channel_drop.of(kept):
            logits = self.student(torch.cat([image, *(mixed[0] for mixed in mixes)]))

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        ramp = sigmoid_ramp(step, self.rampup_steps)
        answers = logits[len(image) :].chunk(2)
        for k, (answer, (_, target, weight)) in enumerate(zip(answers, mixes, strict=True), 1):
            terms[f"strong_{k}"] = pseudo_loss(
                answer, target, weight, dice=self.dice, dice_weight=self.dice_weight
            )
            weights[f"strong_{k}"] = self.pseudo_weight / 2 * ramp
        return LossTerms(terms, weights, label_monitors(pseudo, sure, logits.shape[1]))

    def strong(
        self,
        image: Tensor,
        label: Tensor,
        weight: Tensor,
        view: ViewDraws,
        partner: Sequence[int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return strong views, their labels and the weights of these, all mixed by the same box."""
        outside = outside_masks(view.boxes, image.shape[2:], image.device)
        strong = self.views.apply(image, view.intensity)
        mixed = mix(strong, chosen(strong, partner), outside)
        inside = outside[:, 0]
        label, weight = (mix(one, chosen(one, partner), inside) for one in (label, weight))
        return mixed, label, weight

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.student, step)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The student learns the labeled half and two strong views; the teacher labels one half."""
        return {"student": Passes(learned=3), "teacher": Passes(watched=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}

    @property
    def inference_network(self) -> nn.Module:
        """The teacher; the student where `deploy` says so."""
        return self.networks[self.deploy]
