"""Bidirectional Copy-Paste: pre-training and self-training.

Bai, Chen, Li, Shen, Wang: Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation,
CVPR 2023, arXiv 2305.00673. Defaults are the published choices for the left atrium
(`LA_BCP_train.py`); the cardiac and pancreas variants are settings:

              left atrium   cardiac (ACDC)   pancreas
dice          linear        squared          linear
ema_buffers   keep          average          keep
connectivity  26 (None)     8 (None)         18 (2)
loss          mixed         regions          mixed        (pre-training)

Deviations from the published code: the box may sit at the last place of each axis, and its range
follows the window (the code has 112, 112, 80 written in). Which half of the labeled windows meets
which half of the unlabeled ones differs between the three published scripts; the halves are
exchangeable, so one pairing serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.components import hard_labels, start_component_filter
from medsemi.parts.copy_paste import Box, check_pairs, draw_box, halves, mix, outside_mask
from medsemi.parts.losses import dice_form, region_losses
from medsemi.parts.teacher import (
    BUFFER_RULES,
    BufferRule,
    check_buffer_rule,
    frozen_copy,
    update_teacher,
)

# Axes of the windows -> loss of the pre-training in the authors' scripts for slices and for volumes.
PRETRAINING_LOSS = {2: "regions", 3: "mixed"}


def run_separately(network: nn.Module, *inputs: Tensor, passes: int) -> Tensor:
    """Run `network` on the concatenated inputs, in one pass or in one pass per input.

    With batch norm in train mode the two differ: its statistics are those of a pass.
    """
    if passes == 1:
        together: Tensor = network(torch.cat(inputs))
        return together
    return torch.cat([network(one) for one in inputs])


class BCP(Method):
    """Self-training: labeled and unlabeled windows exchange a box, in both directions.

    The student learns both mixes, with true labels on labeled voxels and with the teacher's
    filtered hard labels, at a lower weight, on unlabeled ones.
    """

    same_at_every_scale = ("pseudo_labels",)

    def __init__(
        self,
        network: nn.Module,
        *,
        hole_ratio: float = 2 / 3,
        pseudo_weight: float = 0.5,
        ema_decay: float = 0.99,
        teacher_mode: Literal["train", "eval"] = "train",
        ema_buffers: BufferRule = "keep",
        component_filter: bool = True,
        connectivity: int | None = None,
        dice: str = "linear",
        student_passes: int = 2,
        teacher_passes: int = 2,
        deploy: Literal["student", "teacher"] = "student",
    ) -> None:
        """Own the student and a teacher that starts as its copy.

        Args:
            network: the student; returns logits (batch, classes, *space).
            hole_ratio: edge of the box by edge of the window (beta in the paper).
            pseudo_weight: weight of pseudo-labels; true labels weigh 1 (alpha).
            ema_decay: share of the teacher that stays at each step (lambda).
            teacher_mode: `train` makes pseudo-labels with dropout and batch statistics.
            ema_buffers: what the teacher's batch-norm statistics follow, see `update_teacher`.
            component_filter: keep the largest component of each class of a pseudo-label.
            connectivity: of the components, see `largest_component`; None is full.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            student_passes: 2 runs the two mixes apart, 1 together (batch norm sees the difference).
            teacher_passes: the same for the two halves of the unlabeled windows.
            deploy: which network is used for inference.

        Raises:
            ConfigError: if an option is out of its range, or the teacher's batch-norm statistics
                would never move.
        """
        super().__init__()
        check_choice(("train", "eval"), teacher_mode=teacher_mode)
        check_choice(BUFFER_RULES, ema_buffers=ema_buffers)
        check_choice(("student", "teacher"), deploy=deploy)
        check_choice((None, 1, 2, 3), connectivity=connectivity)
        check_choice((1, 2), student_passes=student_passes, teacher_passes=teacher_passes)
        check_range(0, 1, hole_ratio=hole_ratio, ema_decay=ema_decay)
        check_range(0, pseudo_weight=pseudo_weight)
        if teacher_mode == "eval":
            check_buffer_rule(ema_buffers, network)
        self.student = network
        self.teacher = frozen_copy(network)
        self.hole_ratio, self.pseudo_weight = hole_ratio, pseudo_weight
        self.ema_decay, self.ema_buffers, self.teacher_mode = ema_decay, ema_buffers, teacher_mode
        self.component_filter, self.connectivity = component_filter, connectivity
        self.dice = dice_form(dice)
        self.student_passes, self.teacher_passes = student_passes, teacher_passes
        self.deploy = deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> Box:
        """Draw the one box of the step, shared by both mixes and all samples.

        Raises:
            ConfigError: if there are no unlabeled windows, or their halves and those of the labeled
                ones differ in number.
        """
        image, _, windows = both_halves(batch)
        check_pairs(len(image), len(windows))
        return draw_box(image.shape[2:], self.hole_ratio, generator)

    def forward(self, batch: Batch, draws: Box, step: int) -> LossTerms:
        """Return the four terms of each mix; pseudo-labels weigh `pseudo_weight` of true labels."""
        (image_a, image_b), (label_a, label_b), (unlabeled_a, unlabeled_b) = map(
            halves, both_halves(batch)
        )
        outside = outside_mask(draws, image_a.shape[2:], image_a.device)

        pseudo = self.pseudo_labels(unlabeled_a, unlabeled_b)
        inward = mix(image_a, unlabeled_a, outside)
        outward = mix(unlabeled_b, image_b, outside)
        logits = run_separately(self.student, inward, outward, passes=self.student_passes)
        logits_in, logits_out = logits.chunk(2)
        pseudo_a, pseudo_b = pseudo().chunk(2)

        target_in, target_out = mix(label_a, pseudo_a, outside), mix(pseudo_b, label_b, outside)
        regions_in = {"labeled": outside, "pseudo": ~outside}
        regions_out = {"labeled": ~outside, "pseudo": outside}
        terms_in = region_losses(logits_in, target_in, regions_in, self.dice)
        terms_out = region_losses(logits_out, target_out, regions_out, self.dice)
        terms = {f"inward_{name}": term for name, term in terms_in.items()}
        terms |= {f"outward_{name}": term for name, term in terms_out.items()}
        weights = {n: self.pseudo_weight / 2 if n.endswith("pseudo") else 0.5 for n in terms}
        foreground = (torch.cat([pseudo_a, pseudo_b]) > 0).float().mean()
        return LossTerms(terms, weights, {"pseudo_foreground": foreground})

    @torch.no_grad()
    def pseudo_labels(self, *unlabeled: Tensor) -> Callable[[], Tensor]:
        """Start the teacher's hard labels; the result comes when the returned function is called."""
        logits = run_separately(self.teacher, *unlabeled, passes=self.teacher_passes)
        labels = hard_labels(logits)
        if not self.component_filter:
            return lambda: labels
        return start_component_filter(labels, self.connectivity)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student, from the first step on and without warm-up."""
        update_teacher(self.teacher, self.student, self.ema_decay, self.ema_buffers)

    def train(self, mode: bool = True) -> BCP:
        """Switch the student; the teacher follows only where `teacher_mode` is `train`."""
        super().train(mode)
        self.teacher.train(mode and self.teacher_mode == "train")
        return self

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Two mixes of half a batch each; the teacher sees all unlabeled windows."""
        return {"student": Passes(learned=1), "teacher": Passes(watched=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher}

    @property
    def inference_network(self) -> nn.Module:
        """The student in the paper; the teacher where `deploy` says so."""
        return self.networks[self.deploy]


class CopyPastePretraining(Method):
    """Pre-training: the two halves of the labeled windows exchange a box."""

    def __init__(
        self,
        network: nn.Module,
        *,
        hole_ratio: float = 2 / 3,
        loss: Literal["mixed", "regions"] | None = None,
        dice: str = "linear",
    ) -> None:
        """Own the network.

        Args:
            network: returns logits (batch, classes, *space).
            hole_ratio: edge of the box by edge of the window.
            loss: `mixed` takes the loss over the whole mixed label (left atrium, pancreas),
                `regions` adds those of the box and of its outside (cardiac). None is what the
                published scripts have for windows of that many axes: `regions` in 2D, `mixed`
                in 3D.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.

        Raises:
            ConfigError: if an option is out of its range.
        """
        super().__init__()
        check_choice(("mixed", "regions", None), loss=loss)
        check_range(0, 1, hole_ratio=hole_ratio)
        self.student = network
        self.hole_ratio, self.loss = hole_ratio, loss
        self.dice = dice_form(dice)

    def draw(self, batch: Batch, generator: torch.Generator) -> Box:
        """Draw the one box of the step, shared by all samples."""
        return draw_box(batch.labeled.image.shape[2:], self.hole_ratio, generator)

    def forward(self, batch: Batch, draws: Box, step: int) -> LossTerms:
        """Return Dice and cross entropy of the mixed windows, weighted one half each."""
        assert batch.labeled.label is not None
        outside = outside_mask(draws, batch.labeled.image.shape[2:], batch.labeled.image.device)
        image = mix(*halves(batch.labeled.image), outside)
        label = mix(*halves(batch.labeled.label), outside)
        regions = {"mixed": torch.ones_like(outside)}
        if (self.loss or PRETRAINING_LOSS[outside.dim()]) == "regions":
            regions = {"outside": outside, "inside": ~outside}
        terms = region_losses(self.student(image), label, regions, self.dice)
        return LossTerms(terms, dict.fromkeys(terms, 0.5))

    @property
    def passes(self) -> Mapping[str, Passes]:
        """One mix of half a batch."""
        return {"student": Passes(learned=0.5)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network."""
        return self.student
