"""Cross pseudo supervision: two networks, each of which learns the other's hard labels.

Chen, Yuan, Zeng, Wang: Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision, CVPR
2021, arXiv 2106.01226. Constants of the versions that were published:

                            this (SSL4MIS, medical)   paper, VOC   paper, VOC with CutMix
    cross_weight            0.1                       1.5          1
    box_probability         0                         0            1
    labeled_share           0                         1            0
    ramp                    whole training            none (0)     none (0)

Deviations from SSL4MIS (`train_cross_pseudo_supervision_2D.py`): inference takes the first network,
or the mean of both (there the better of two on the validation cases); the length of the ramp has no
default. From the authors' CutMix (`TorchSemiSeg`, `voc8.res50v3+.CPS+CutMix`): partners come from
the same batch and not from a second one, and boxes are those of `draw_boxes`; labels are made in
eval mode.
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
from medsemi.parts.components import hard_labels
from medsemi.parts.copy_paste import Box, draw_boxes, mix, outside_masks
from medsemi.parts.label_agreement import foreground_share, label_agreement
from medsemi.parts.losses import dice_form, labeled_losses, voxel_cross_entropy
from medsemi.parts.mixing import draw_partners
from medsemi.parts.modes import evaluated
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.sending import chosen
from medsemi.parts.two_networks import NetworkPair, require_different_starts


@dataclass(frozen=True, slots=True)
class CutMixDraws:
    """What each unlabeled window receives from another one.

    Attributes:
        boxes: where.
        partner: from which.
    """

    boxes: tuple[Box, ...]
    partner: tuple[int, ...]


class CrossPseudoSupervision(Method):
    """Two networks of different starts learn the labels, and from each other."""

    def __init__(
        self,
        network: nn.Module,
        network_b: nn.Module,
        *,
        rampup_steps: int,
        cross_weight: float = 0.1,
        labeled_share: float = 0.0,
        box_probability: float = 0.0,
        dice: str = "linear",
        deploy: Literal["student_a", "both"] = "student_a",
    ) -> None:
        """Own both networks.

        Args:
            network: returns logits (batch, classes, *space).
            network_b: another one, of other weights and perhaps of another architecture.
            rampup_steps: steps until the cross term has its weight; 0.3 of a training is usual.
            cross_weight: weight of what one network learns from the other, after the ramp.
            labeled_share: that of labeled windows in the cross term, by that of unlabeled ones.
            box_probability: that an unlabeled window receives a box of another one; 0 leaves the
                forward passes for it out.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: `student_a`, or `both`: the mean of their probabilities, at twice the cost.

        Raises:
            ConfigError: if an option is out of its range, or both networks have the same weights.
        """
        super().__init__()
        check_choice(("student_a", "both"), deploy=deploy)
        check_range(0, 1, box_probability=box_probability)
        check_range(0, rampup_steps=rampup_steps, cross_weight=cross_weight)
        check_range(0, labeled_share=labeled_share)
        require_different_starts(network, network_b)
        self.both = NetworkPair(network, network_b)
        self.rampup_steps, self.cross_weight = rampup_steps, cross_weight
        self.labeled_share, self.box_probability = labeled_share, box_probability
        self.dice, self.deploy = dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> CutMixDraws | None:
        """Draw boxes and partners, where windows are mixed."""
        if self.box_probability == 0.0:
            return None
        unlabeled = both_halves(batch)[2]
        boxes = draw_boxes(
            len(unlabeled), unlabeled.shape[2:], generator, probability=self.box_probability
        )
        return CutMixDraws(boxes, draw_partners(len(unlabeled), generator))

    def forward(self, batch: Batch, draws: CutMixDraws | None, step: int) -> LossTerms:
        """Return the labeled terms of both networks, and what each learns from the other."""
        image, label, unlabeled = both_halves(batch)
        count, networks = len(image), (self.both.first, self.both.second)
        labels: list[Tensor] = []
        if draws is not None:
            unlabeled, labels = self.mixed(unlabeled, draws)
        logits = [network(torch.cat([image, unlabeled])) for network in networks]
        found = [hard_labels(z.detach()) for z in logits]
        if not labels:
            labels = [one[count:] for one in found]

        terms: dict[str, Tensor] = {}
        for name, z in zip("ab", logits, strict=True):
            losses = labeled_losses(z[:count], label, self.dice)
            terms |= {f"{term}_{name}": loss for term, loss in losses.items()}
        weights = dict.fromkeys(terms, 0.5)
        terms["cross"] = cross_losses([z[count:] for z in logits], labels)
        weights["cross"] = self.cross_weight * sigmoid_ramp(step, self.rampup_steps)
        if self.labeled_share != 0.0:
            terms["cross_labeled"] = cross_losses(
                [z[:count] for z in logits], [one[:count] for one in found]
            )
            weights["cross_labeled"] = self.labeled_share * weights["cross"]
        monitors = {"student_agreement": label_agreement(labels[0], labels[1])}
        monitors |= {
            f"pseudo_foreground_{k}": foreground_share(v) for k, v in zip("ab", labels, strict=True)
        }
        return LossTerms(terms, weights, monitors)

    def mixed(self, image: Tensor, draws: CutMixDraws) -> tuple[Tensor, list[Tensor]]:
        """Return mixed windows, and each network's labels of the whole ones, mixed alike."""
        outside, partner = outside_masks(draws.boxes, image.shape[2:], image.device), draws.partner
        labels = []
        for network in (self.both.first, self.both.second):
            with evaluated(network), torch.no_grad():
                found = hard_labels(network(image))
            labels.append(mix(found, chosen(found, partner), outside[:, 0]))
        return mix(image, chosen(image, partner), outside), labels

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Both learn both halves; where windows are mixed, they also see the whole ones."""
        each = Passes(learned=2, watched=1.0 if self.box_probability else 0.0)
        return {"student_a": each, "student_b": each}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Each network, and the two together."""
        return {"student_a": self.both.first, "student_b": self.both.second, "both": self.both}

    @property
    def inference_network(self) -> nn.Module:
        """The first network in the paper; both where `deploy` says so."""
        return self.networks[self.deploy]


def cross_losses(logits: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Return the sum of what each of two networks loses to the other's hard labels."""
    return (
        voxel_cross_entropy(logits[0], labels[1]).mean()
        + voxel_cross_entropy(logits[1], labels[0]).mean()
    )
