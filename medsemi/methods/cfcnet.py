"""CFC-Net: two students on two frequency views, and a teacher that sees the whole window.

A re-creation of Zhou, Zhang, He, Wang, Xie, Li: Cross-Frequency Collaborative Training Network and
Dataset for Semi-supervised First Molar Root Canal Segmentation, arXiv 2504.11856, from its abstract
and its lineage, without the authors' code. Its numbers are not comparable with the paper's.

Known, from the abstract: two specialized students and one comprehensive teacher that are given
different frequencies; cross-frequency and full-frequency consistency; UCF-Mix, which is guided by
uncertainty and keeps targets whole. Everything else is inferred:

    views, their mixing and its ranges      XNet v2 (arXiv 2409.00947), changed: see `parts.views`
    cross-frequency consistency             UCMT (arXiv 2301.04465): each student learns the other's
                                            hard labels
    full-frequency consistency              UCMT: both learn the teacher's hard labels
    uncertainty of UCF-Mix                  UCMT; the exchange in place: see `parts.ucf_mix`
    warm-up and decay of the teacher        UCMT
    teacher of the mean of both students,   measured on synthetic tubes: the mean of students that
    one start, random views before          start apart is a broken network; the start matters most
    classes that a pseudo-label lacks       measured: see `parts.foreground_loss`

Every inferred choice is an argument. One optimizer step is one step, where UCMT takes two. Networks
should have instance or group norm: batch statistics of views do not fit the window of the teacher.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes
from medsemi.parts.centerline_loss import centerline_loss
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.components import hard_labels
from medsemi.parts.foreground_loss import foreground_loss, hard_target_loss, soft_target_loss
from medsemi.parts.label_agreement import foreground_share, label_agreement
from medsemi.parts.losses import probabilities
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.sending import chosen
from medsemi.parts.teacher import (
    BufferRule,
    check_buffer_rule,
    frozen_copy,
    update_common_teacher,
    update_teacher,
    warmed_up,
)
from medsemi.parts.teacher_rules import TeacherRule, check_teacher_rule
from medsemi.parts.two_networks import NetworkPair
from medsemi.parts.ucf_mix import Exchange, UCFMix
from medsemi.parts.uncertainty import mean_entropy
from medsemi.parts.view_students import ViewStudents
from medsemi.parts.views import FrequencyViews, ViewDraw


@dataclass(frozen=True, slots=True)
class CFCDraws:
    """The random decisions of a step.

    Attributes:
        views: of the labeled windows, then of the unlabeled ones.
        block_order: see `UCFMix.draw`; of the labeled windows first, where they are mixed as well.
    """

    views: ViewDraw
    block_order: tuple[tuple[int, ...], ...]


class CFCNet(Method):
    """Two students and their common teacher; start from what `RandomViewPretraining` has trained."""

    def __init__(
        self,
        network: nn.Module,
        network_high: nn.Module | None = None,
        *,
        rampup_steps: int,
        views: FrequencyViews | None = None,
        mix: UCFMix | None = None,
        teacher_rule: TeacherRule = "mean",
        low_share: float = 0.99,
        ema_decay: float = 0.99,
        ema_buffers: BufferRule = "average",
        consistency_weight: float = 0.5,
        cross_weight: float = 1.0,
        full_weight: float = 1.0,
        mix_weight: float = 0.5,
        dice_weight: float = 0.5,
        min_voxels: int = 1,
        confidence: float = 0.0,
        soft_targets: bool = False,
        full_view_supervision: float = 0.0,
        mix_labeled: float = 0.0,
        cldice_weight: float = 0.0,
        cldice_iterations: int = 3,
        deploy: Literal["teacher", "students"] = "teacher",
    ) -> None:
        """Own the students and a teacher, all of them with the weights of `network`.

        Args:
            network: the student of the low view; returns logits (batch, classes, *space).
            network_high: the student of the high view; None is a copy of `network`.
            rampup_steps: length of the ramp; about 40 % of the training.
            views: how views are made; None is `FrequencyViews()`.
            mix: how UCF-Mix chooses its blocks; None is `UCFMix()`.
            teacher_rule: what the teacher follows: the `mean` of both students; `two`: it is two
                teachers, one per student, whose probabilities are averaged; `low`: the student of
                the low view by `low_share`, else the other one (UCMT); `alternate`: one student at
                even steps, the other one at odd steps.
            low_share: see `teacher_rule` (UCMT: 0.99).
            ema_decay: share of the teacher that stays at each step after the warm-up.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            consistency_weight: weight of all unlabeled terms after the ramp; 0.1 from fresh weights.
            cross_weight: weight of the cross-frequency consistency; 0 leaves it out.
            full_weight: weight of the full-frequency consistency; 0 leaves it out.
            mix_weight: weight of UCF-Mix; 0 leaves its forward passes out.
            dice_weight: share of the Dice in each loss, the rest is cross entropy (UCMT: 1).
            min_voxels: voxels that make a class count for the Dice of a pseudo-label.
            confidence: probability of the teacher from which on a voxel counts for `full_weight`.
            soft_targets: students learn probabilities, by their squared difference, not hard labels.
            full_view_supervision: weight of a labeled loss on the plain window, for the students in
                turn; 0 leaves it out.
            mix_labeled: weight of the labeled loss on exchanged views (UCMT: 1); 0 leaves it out.
            cldice_weight: weight of the soft clDice of labeled windows, at most 0.5; for tubes.
            cldice_iterations: see `centerline_loss`.
            deploy: the `teacher`, or `students`: the mean of both on their fixed views, at twice the cost.

        Raises:
            ConfigError: if an option is out of its range, or the students do not fit the rule.
        """
        super().__init__()
        network_high = copy.deepcopy(network) if network_high is None else network_high
        check_teacher_rule(teacher_rule, network, network_high, low_share)
        check_buffer_rule(ema_buffers, network)
        check_choice(("teacher", "students"), deploy=deploy)
        check_range(0, 1, ema_decay=ema_decay, dice_weight=dice_weight, confidence=confidence)
        check_range(0, rampup_steps=rampup_steps, consistency_weight=consistency_weight)
        check_range(0, cross_weight=cross_weight, full_weight=full_weight, mix_weight=mix_weight)
        check_range(0, full_view_supervision=full_view_supervision, mix_labeled=mix_labeled)
        check_range(0, 0.5, cldice_weight=cldice_weight)
        check_range(1, cldice_iterations=cldice_iterations)
        self.views, self.mix = views or FrequencyViews(), mix or UCFMix()
        if teacher_rule == "two":
            self.teacher: nn.Module = NetworkPair(frozen_copy(network), frozen_copy(network_high))
        else:
            self.teacher = frozen_copy(network)
        self.students = ViewStudents(network, network_high, self.views)
        self.teacher_rule, self.low_share, self.deploy = teacher_rule, low_share, deploy
        self.ema_decay, self.ema_buffers, self.confidence = ema_decay, ema_buffers, confidence
        self.consistency_weight, self.rampup_steps = consistency_weight, rampup_steps
        self.weights = {"cross": cross_weight, "full": full_weight, "mix": mix_weight}
        self.full_view_supervision, self.mix_labeled = full_view_supervision, mix_labeled
        self.cldice_weight, self.cldice_iterations = cldice_weight, cldice_iterations
        self.moves_labels = self.mix.mode == "displaced" and max(mix_weight, mix_labeled) > 0.0
        self.labeled_loss = partial(foreground_loss, dice_weight=dice_weight)
        self.pseudo_loss: Callable[..., Tensor] = soft_target_loss
        if not soft_targets:
            self.pseudo_loss = partial(
                hard_target_loss, dice_weight=dice_weight, min_voxels=min_voxels
            )

    def draw(self, batch: Batch, generator: torch.Generator) -> CFCDraws:
        """Draw how the views of each window are mixed, and blocks where they are random.

        Raises:
            ConfigError: if the blocks of UCF-Mix do not divide the window.
        """
        space, labeled = batch.labeled.image.shape[2:], len(batch.labeled.image)
        unlabeled = 0 if batch.unlabeled is None else len(batch.unlabeled.image)
        views = self.views.draw(labeled + unlabeled, len(space), generator)
        mixed = unlabeled if self.weights["mix"] != 0.0 else 0
        mixed += labeled if self.mix_labeled != 0.0 else 0
        return CFCDraws(views, self.mix.draw(mixed, space, generator) if mixed else ())

    def forward(self, batch: Batch, draws: CFCDraws, step: int) -> LossTerms:
        """Return the supervised terms, and the ramped unlabeled ones where there are such windows."""
        assert batch.labeled.label is not None
        labeled, label = batch.labeled.image, batch.labeled.label
        count = len(labeled)
        image = labeled if batch.unlabeled is None else torch.cat([labeled, batch.unlabeled.image])
        views = self.views.apply(image, draws.views)
        logits = self.students.low.network(views[0]), self.students.high.network(views[1])

        given, orders = [z[:count] for z in logits], draws.block_order
        terms, weights = self.supervision(given, label)
        monitors: dict[str, Tensor] = {}
        if self.full_view_supervision != 0.0:
            student = (self.students.low, self.students.high)[step % 2].network
            terms["full_view"] = self.labeled_loss(student(labeled), label)
            weights["full_view"] = self.full_view_supervision
        if self.mix_labeled != 0.0:
            doubts = self.doubts(given, self.teacher_probabilities(labeled))
            exchange, mixed = self.exchanged([v[:count] for v in views], doubts, orders[:count])
            losses = [self.labeled_loss(z, exchange.label(label)) for z in mixed]
            terms["mix_labeled"] = torch.stack(losses).sum()
            weights["mix_labeled"] = self.mix_labeled
        if (unlabeled := len(image) - count) > 0:
            rest, their_logits = [v[count:] for v in views], [z[count:] for z in logits]
            more, monitors = self.consistency(
                image[count:], rest, their_logits, orders[-unlabeled:]
            )
            ramp = self.consistency_weight * sigmoid_ramp(step, self.rampup_steps)
            terms |= more
            weights |= {name: ramp * self.weights[name] for name in more}
            monitors["labeled_foreground"] = foreground_share(label)
        return LossTerms(terms, weights, monitors)

    def supervision(
        self, logits: Sequence[Tensor], label: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return what labels say of both students' predictions of their views, and the weights."""
        losses = [self.labeled_loss(z, label) for z in logits]
        terms, weights = {"supervised": torch.stack(losses).sum()}, {"supervised": 1.0}
        if self.cldice_weight != 0.0:
            lines = [centerline_loss(z, label, self.cldice_iterations) for z in logits]
            terms["cldice"] = torch.stack(lines).sum()
            weights["cldice"] = self.cldice_weight
        return terms, weights

    def consistency(
        self,
        image: Tensor,
        views: Sequence[Tensor],
        logits: Sequence[Tensor],
        block_order: Sequence[Sequence[int]],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the terms of plain windows and their two views, and what is monitored.

        `logits` are what each student says of its view; the terms have no weights yet.
        """
        teacher = self.teacher_probabilities(image)
        low, high = (probabilities(z.detach()) for z in logits)
        doubts = self.doubts(logits, teacher)
        terms = {}
        if self.weights["cross"] != 0.0:
            terms["cross"] = self.learn(logits, (high, low))
        if self.weights["full"] != 0.0:
            sure = teacher.amax(1) >= self.confidence
            terms["full"] = self.learn(logits, (teacher, teacher), sure)
        target = hard_labels(teacher)
        monitors = {
            "student_agreement": label_agreement(hard_labels(low), hard_labels(high)),
            "pseudo_foreground_low": foreground_share(hard_labels(low)),
            "pseudo_foreground_high": foreground_share(hard_labels(high)),
            "pseudo_foreground_teacher": foreground_share(target),
            "uncertainty": torch.stack(doubts).mean(),
        }
        if self.weights["mix"] != 0.0:
            exchange, mixed = self.exchanged(views, doubts, block_order)
            moved, other = exchange.move(teacher), [probabilities(z.detach()) for z in mixed[::-1]]
            terms["mix"] = self.learn(mixed, (moved, moved)) + self.learn(mixed, other)
            monitors["exchanged_foreground"] = exchange.foreground(target)
        return terms, monitors

    @torch.no_grad()
    def teacher_probabilities(self, image: Tensor) -> Tensor:
        """Return what the teacher says of plain windows."""
        return probabilities(self.teacher(image))

    @torch.no_grad()
    def doubts(self, logits: Sequence[Tensor], teacher: Tensor) -> list[Tensor]:
        """Return the uncertainty of each student with the teacher, shape (batch, *space)."""
        return [mean_entropy(probabilities(z), teacher) for z in logits]

    def exchanged(
        self, views: Sequence[Tensor], doubts: Sequence[Tensor], order: Sequence[Sequence[int]]
    ) -> tuple[Exchange, tuple[Tensor, Tensor]]:
        """Exchange the most uncertain blocks of two views; return which, and what students say."""
        exchange = self.mix.choose(doubts[0], doubts[1], order)
        low, high = exchange.apply(views[0], views[1])
        return exchange, (self.students.low.network(low), self.students.high.network(high))

    def learn(
        self, logits: Sequence[Tensor], targets: Sequence[Tensor], keep: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of both students towards the probabilities that each is given."""
        pairs = zip(logits, targets, strict=True)
        return torch.stack([self.pseudo_loss(z, target, keep) for z, target in pairs]).mean()

    def after_step(self, step: int) -> None:
        """Move the teacher towards what its rule names."""
        low, high = self.students.low.network, self.students.high.network
        decay, buffers = warmed_up(self.ema_decay, step), self.ema_buffers
        if isinstance(self.teacher, NetworkPair):
            update_teacher(self.teacher.first, low, decay, buffers)
            update_teacher(self.teacher.second, high, decay, buffers)
            return
        shares = {"mean": 0.5, "low": self.low_share, "alternate": 1.0 - step % 2}
        share = shares[self.teacher_rule]
        update_common_teacher(self.teacher, [(low, share), (high, 1.0 - share)], decay, buffers)

    def train(self, mode: bool = True) -> CFCNet:
        """Switch the students; the teacher always answers as it will when it is deployed."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Views of all windows and mixed ones; the teacher, or both, sees plain unlabeled ones."""
        labeled = 1.0 if self.mix_labeled != 0.0 else 0.0
        mixed = labeled + (1.0 if self.weights["mix"] != 0.0 else 0.0)
        plain = 0.5 if self.full_view_supervision != 0.0 else 0.0
        student = Passes(learned=2.0 + mixed + plain)
        teachers = 2.0 if self.teacher_rule == "two" else 1.0
        return {
            "student_low": student,
            "student_high": student,
            "teacher": Passes(watched=teachers * (1.0 + labeled)),
        }

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The students, each on its own fixed view, their mean, and the teacher on the window."""
        return {**self.students.networks, "teacher": self.teacher}

    @property
    def inference_network(self) -> nn.Module:
        """The teacher, or both students where `deploy` says so."""
        return self.networks[self.deploy]


@dataclass(frozen=True, slots=True)
class PretrainingDraws:
    """What each labeled window is shown as.

    Attributes:
        views: how its views are mixed.
        choice: 0 is the plain window, 1 the low view, 2 the high view; one per sample.
    """

    views: ViewDraw
    choice: tuple[int, ...]


class RandomViewPretraining(Method):
    """Stage 0: one network learns the labeled windows as they are and in both views.

    It is the common start of students and teacher, which so knows the plain window from the first
    step on. Inferred; the choice that mattered most on synthetic tubes.
    """

    def __init__(
        self, network: nn.Module, *, views: FrequencyViews | None = None, dice_weight: float = 0.5
    ) -> None:
        """Own the network; arguments as for `CFCNet`."""
        super().__init__()
        check_range(0, 1, dice_weight=dice_weight)
        self.student = network
        self.views, self.dice_weight = views or FrequencyViews(), dice_weight

    def draw(self, batch: Batch, generator: torch.Generator) -> PretrainingDraws:
        """Draw what each labeled window is shown as."""
        count, axes = len(batch.labeled.image), batch.labeled.image.ndim - 2
        views = self.views.draw(count, axes, generator)
        choice = torch.randint(3, (count,), generator=generator).tolist()
        return PretrainingDraws(views, tuple(choice))

    def forward(self, batch: Batch, draws: PretrainingDraws, step: int) -> LossTerms:
        """Return the loss of the labeled windows as they are shown."""
        assert batch.labeled.label is not None
        image = batch.labeled.image
        shown = torch.cat([image, *self.views.apply(image, draws.views)])
        places = [kind * len(image) + window for window, kind in enumerate(draws.choice)]
        logits = self.student(chosen(shown, places))
        loss = foreground_loss(logits, batch.labeled.label, dice_weight=self.dice_weight)
        return LossTerms({"supervised": loss}, {"supervised": 1.0})

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Labeled windows, once."""
        return {"student": Passes(learned=1.0)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network, on the plain window."""
        return self.student
