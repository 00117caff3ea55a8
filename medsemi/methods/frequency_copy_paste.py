"""Copy-paste of frequency views: Bidirectional Copy-Paste for the two students of CFC-Net.

Not published; a combination of two methods that are:

    copy-paste, its losses and weights      BCP (Bai et al., CVPR 2023, arXiv 2305.00673)
    views, two students, common teacher     CFC-Net as re-created here, see `medsemi.methods.cfcnet`

The views are pasted, and not the windows: a low-pass does not commute with pasting, so that the
high view of a pasted window would show the seam of the box as an edge, and the low view would
smear each side into the other. A view of either window shows nothing of the other one.

Its start is one network, trained on labeled windows as they are and in both views
(`RandomViewPretraining` of `medsemi.methods.cfcnet`). Networks should use instance or group norm:
the teacher sees the plain window, which no student does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.components import hard_labels, start_component_filter
from medsemi.parts.copy_paste import Box, check_pairs, draw_box, halves, mix, outside_mask
from medsemi.parts.label_agreement import label_agreement
from medsemi.parts.losses import dice_form, region_losses
from medsemi.parts.teacher import (
    BufferRule,
    check_buffer_rule,
    frozen_copy,
    update_common_teacher,
)
from medsemi.parts.view_students import ViewStudents
from medsemi.parts.views import FrequencyViews, ViewDraw


@dataclass(frozen=True, slots=True)
class PasteDraws:
    """The random decisions of a step.

    Attributes:
        box: what is pasted, the same for both directions, all samples and both views.
        views: of the labeled windows, then of the unlabeled ones.
    """

    box: Box
    views: ViewDraw


class FrequencyCopyPaste(Method):
    """Each student learns pasted views of its own band, with labels of their common teacher."""

    same_at_every_scale = ("pseudo_labels",)

    def __init__(
        self,
        network: nn.Module,
        *,
        views: FrequencyViews | None = None,
        hole_ratio: float = 2 / 3,
        pseudo_weight: float = 0.5,
        ema_decay: float = 0.99,
        ema_buffers: BufferRule = "average",
        component_filter: bool = True,
        connectivity: int | None = None,
        dice: str = "linear",
        deploy: Literal["teacher", "students"] = "teacher",
    ) -> None:
        """Own the students and their teacher, all of them with the weights of `network`.

        Args:
            network: returns logits (batch, classes, *space).
            views: how views are made; None is `FrequencyViews()`.
            hole_ratio: edge of the box by edge of the window (BCP).
            pseudo_weight: weight of pseudo-labels; true labels weigh 1 (BCP).
            ema_decay: share of the teacher that stays at each step, without warm-up (BCP).
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            component_filter: keep the largest component of each class of a pseudo-label (BCP). It
                deletes canals that a window cuts off; leave it out for thin structures.
            connectivity: of the components, see `largest_component`; None is full.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: the `teacher`, or `students`: the mean of both on their fixed views, at twice the cost.

        Raises:
            ConfigError: if an option is out of its range, or the teacher's batch-norm statistics
                would never move.
        """
        super().__init__()
        check_buffer_rule(ema_buffers, network)
        check_choice((None, 1, 2, 3), connectivity=connectivity)
        check_choice(("teacher", "students"), deploy=deploy)
        check_range(0, 1, hole_ratio=hole_ratio, ema_decay=ema_decay)
        check_range(0, pseudo_weight=pseudo_weight)
        self.views = views or FrequencyViews()
        self.teacher = frozen_copy(network)
        self.students = ViewStudents(network, copy.deepcopy(network), self.views)
        self.hole_ratio, self.pseudo_weight = hole_ratio, pseudo_weight
        self.ema_decay, self.ema_buffers = ema_decay, ema_buffers
        self.component_filter, self.connectivity = component_filter, connectivity
        self.dice, self.deploy = dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> PasteDraws:
        """Draw the box and how the views of each window are mixed.

        Raises:
            ConfigError: if there are no unlabeled windows, or their halves and those of the labeled
                ones differ in number.
        """
        image, _, windows = both_halves(batch)
        check_pairs(len(image), len(windows))
        box = draw_box(image.shape[2:], self.hole_ratio, generator)
        return PasteDraws(
            box, self.views.draw(len(image) + len(windows), image.ndim - 2, generator)
        )

    def forward(self, batch: Batch, draws: PasteDraws, step: int) -> LossTerms:
        """Return Dice and cross entropy of both students, apart for true and for pseudo-labels.

        The terms are sums over both directions of pasting; true labels weigh 1/2, pseudo-labels half
        of that.
        """
        labeled, label, unlabeled = both_halves(batch)
        outside = outside_mask(draws.box, labeled.shape[2:], labeled.device)
        pseudo = self.pseudo_labels(unlabeled)
        views = self.views.apply(torch.cat([labeled, unlabeled]), draws.views)
        students = {"low": self.students.low.network, "high": self.students.high.network}
        logits = {
            band: student(paste(view[: len(labeled)], view[len(labeled) :], outside))
            for (band, student), view in zip(students.items(), views, strict=True)
        }
        pseudo_label = pseudo()
        target = paste(label, pseudo_label, outside)
        terms: dict[str, Tensor] = {}
        for band, both in logits.items():
            terms |= {f"{band}_{name}": t for name, t in self.losses(both, target, outside).items()}
        weights = {n: self.pseudo_weight / 2 if n.endswith("pseudo") else 0.5 for n in terms}
        monitors = {
            "pseudo_foreground": (pseudo_label > 0).float().mean(),
            "student_agreement": label_agreement(*(hard_labels(z) for z in logits.values())),
        }
        return LossTerms(terms, weights, monitors)

    def losses(self, logits: Tensor, target: Tensor, outside: Tensor) -> dict[str, Tensor]:
        """Return the terms of one student, summed over both directions.

        Args:
            logits: of the windows with an unlabeled box, then of those with a labeled one.
            target: their labels, (batch, *space).
            outside: True outside of the box, (*space).
        """
        directions: Sequence[dict[str, Tensor]] = (
            {"labeled": outside, "pseudo": ~outside},
            {"labeled": ~outside, "pseudo": outside},
        )
        inward, outward = (
            region_losses(z, label, regions, self.dice)
            for z, label, regions in zip(logits.chunk(2), target.chunk(2), directions, strict=True)
        )
        return {name: term + outward[name] for name, term in inward.items()}

    @torch.no_grad()
    def pseudo_labels(self, unlabeled: Tensor) -> Callable[[], Tensor]:
        """Start the teacher's hard labels; the result comes when the returned function is called."""
        labels = hard_labels(self.teacher(unlabeled))
        if not self.component_filter:
            return lambda: labels
        return start_component_filter(labels, self.connectivity)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the mean of both students."""
        students = [(s.network, 0.5) for s in (self.students.low, self.students.high)]
        update_common_teacher(self.teacher, students, self.ema_decay, self.ema_buffers)

    def train(self, mode: bool = True) -> FrequencyCopyPaste:
        """Switch the students; the teacher always answers as it will when it is deployed."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Each student sees two pastes of half a batch each; the teacher all unlabeled windows."""
        student = Passes(learned=1.0)
        return {"student_low": student, "student_high": student, "teacher": Passes(watched=1.0)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The students, each on its own fixed view, their mean, and the teacher on the window."""
        return {**self.students.networks, "teacher": self.teacher}

    @property
    def inference_network(self) -> nn.Module:
        """The teacher, or both students where `deploy` says so."""
        return self.networks[self.deploy]


def paste(labeled: Tensor, unlabeled: Tensor, outside: Tensor) -> Tensor:
    """Return labeled windows with an unlabeled box, then unlabeled windows with a labeled one.

    Args:
        labeled: views or labels of the labeled windows, (batch, ...), pasted by halves.
        unlabeled: the same of the unlabeled ones.
        outside: True outside of the box, (*space).
    """
    (labeled_a, labeled_b), (unlabeled_a, unlabeled_b) = halves(labeled), halves(unlabeled)
    return torch.cat([mix(labeled_a, unlabeled_a, outside), mix(unlabeled_b, labeled_b, outside)])
