"""FixMatch: what the network is sure of on a window, it learns on a strong view of it.

Sohn et al.: FixMatch, NeurIPS 2020, arXiv 2001.07685, carried over to segmentation: a label per
voxel. The weak view is the window as the stream gives it (its flips and its augmentation are those
of the labeled windows); the strong view keeps its geometry.

Deviations from the paper: intensity views in place of RandAugment, which has no medical form; the
label is made in eval mode, without dropout; the weight has a ramp; as many unlabeled windows as the
stream gives (the paper: seven times the labeled ones); the weights of the last step are deployed (the
paper: their average with 0.999; the trainer's `weight_average` gives one).

Deviations from SSL4MIS (`train_fixmatch_standard_augs.py`), whose rule is another one: the
confidence is a probability (there 1 - min/max, which nearly all voxels pass); a voxel below the
threshold does not count (there it becomes background); no negative learning; no teacher that nobody
uses; labeled windows are not turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_range
from medsemi.parts.copy_paste import Box, draw_boxes, mix, outside_masks
from medsemi.parts.intensity_views import IntensityDraw, IntensityViews
from medsemi.parts.losses import dice_form, labeled_losses
from medsemi.parts.modes import evaluated
from medsemi.parts.pseudo_labels import confident_labels, label_monitors, pseudo_loss
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.turns import Turn, draw_turns, turn, turn_back


@dataclass(frozen=True, slots=True)
class StrongDraws:
    """The strong view of each unlabeled window.

    Attributes:
        intensity: how its intensities are changed.
        boxes: what is cut out.
        turns: how it is turned.
    """

    intensity: IntensityDraw
    boxes: tuple[Box, ...]
    turns: tuple[Turn, ...]


class FixMatch(Method):
    """One network labels unlabeled windows and learns the sure voxels on their strong view."""

    same_at_every_scale = ("strong",)

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        threshold: float = 0.95,
        pseudo_weight: float = 1.0,
        dice_weight: float = 0.0,
        views: IntensityViews | None = None,
        cutout: float = 0.5,
        turns: bool = False,
        dice: str = "linear",
    ) -> None:
        """Own the network.

        Args:
            network: returns logits (batch, classes, *space).
            rampup_steps: steps until pseudo-labels have their weight; 0.3 of a training is usual.
            threshold: probability from which on a voxel counts; 0.8 is usual for two classes in 3D.
            pseudo_weight: weight of pseudo-labels after the ramp (lambda_u in the paper).
            dice_weight: share of the Dice in their loss; the rest is cross entropy.
            views: how intensities are changed; None is `IntensityViews()`.
            cutout: probability that a box of a strong view is replaced by the window's mean.
            turns: flip and turn the strong view as well; its prediction is turned back.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.

        Raises:
            ConfigError: if an option is out of its range.
        """
        super().__init__()
        check_range(0, 1, threshold=threshold, dice_weight=dice_weight, cutout=cutout)
        check_range(0, rampup_steps=rampup_steps, pseudo_weight=pseudo_weight)
        self.student = network
        self.rampup_steps, self.threshold = rampup_steps, threshold
        self.pseudo_weight, self.dice_weight = pseudo_weight, dice_weight
        self.views, self.cutout, self.turns = views or IntensityViews(), cutout, turns
        self.dice = dice_form(dice)

    def draw(self, batch: Batch, generator: torch.Generator) -> StrongDraws:
        """Draw a strong view for each unlabeled window."""
        unlabeled = both_halves(batch)[2]
        count, space = len(unlabeled), unlabeled.shape[2:]
        intensity = self.views.draw(count, generator)
        boxes = draw_boxes(count, space, generator, probability=self.cutout)
        turns = (Turn((False,) * len(space)),) * count
        if self.turns:
            square = batch.unlabeled is not None and batch.unlabeled.square_voxels
            turns = draw_turns(count, space, generator, square_voxels=square)
        return StrongDraws(intensity, boxes, turns)

    def forward(self, batch: Batch, draws: StrongDraws, step: int) -> LossTerms:
        """Return the labeled terms, and the loss of the strong views where the network is sure."""
        image, label, unlabeled = both_halves(batch)
        with evaluated(self.student), torch.no_grad():
            pseudo, sure = confident_labels(self.student(unlabeled), self.threshold)
        logits = self.student(torch.cat([image, self.strong(unlabeled, draws)]))
        answer = turn_back(logits[len(image) :], draws.turns)

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        terms["pseudo"] = pseudo_loss(
            answer, pseudo, sure, dice=self.dice, dice_weight=self.dice_weight
        )
        weights["pseudo"] = self.pseudo_weight * sigmoid_ramp(step, self.rampup_steps)
        return LossTerms(terms, weights, label_monitors(pseudo, sure, logits.shape[1]))

    def strong(self, image: Tensor, draws: StrongDraws) -> Tensor:
        """Return the strong view of `image`, turned."""
        view = self.views.apply(image, draws.intensity)
        mean = image.mean(tuple(range(2, image.ndim)), keepdim=True)
        outside = outside_masks(draws.boxes, image.shape[2:], image.device)
        return turn(mix(view, mean, outside), draws.turns)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The network labels the unlabeled half, and learns the labeled one and the strong view."""
        return {"student": Passes(learned=2, watched=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network."""
        return self.student
