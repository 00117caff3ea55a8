"""Entropy minimization: the network is to be sure of unlabeled windows, of whatever.

Grandvalet, Bengio: Semi-supervised learning by entropy minimization, NeurIPS 2004; for segmentation
Vu, Jain, Bucher, Cord, Perez: ADVENT, CVPR 2019, arXiv 1811.12833. Constants of SSL4MIS
(`train_entropy_minimization_2D.py`).

Deviations from SSL4MIS: the entropy is that of unlabeled windows alone (there also of labeled
ones), as a share of ln(classes) for any number of classes (there 4); the length of the ramp, there
the whole training, has no default. All background is a minimum of this entropy: watch
`pseudo_foreground`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_range
from medsemi.parts.components import hard_labels
from medsemi.parts.entropy import voxel_entropy
from medsemi.parts.label_agreement import foreground_share
from medsemi.parts.losses import dice_form, labeled_losses
from medsemi.parts.ramps import sigmoid_ramp


class EntropyMinimization(Method):
    """One network learns labels, and sureness where it has none."""

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        entropy_weight: float = 0.1,
        dice: str = "linear",
    ) -> None:
        """Own the network.

        Args:
            network: returns logits (batch, classes, *space).
            rampup_steps: steps until the entropy has its weight; 0.3 of a training is usual.
            entropy_weight: weight after the ramp.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.

        Raises:
            ConfigError: if an option is out of its range.
        """
        super().__init__()
        check_range(0, rampup_steps=rampup_steps, entropy_weight=entropy_weight)
        self.student = network
        self.rampup_steps, self.entropy_weight = rampup_steps, entropy_weight
        self.dice = dice_form(dice)

    def draw(self, batch: Batch, generator: torch.Generator) -> None:
        """Draw nothing."""

    def forward(self, batch: Batch, draws: None, step: int) -> LossTerms:
        """Return the labeled terms, and the entropy of the unlabeled windows, from 0 to 1."""
        image, label, unlabeled = both_halves(batch)
        logits = self.student(torch.cat([image, unlabeled]))
        answer = logits[len(image) :].float()

        terms = labeled_losses(logits[: len(image)], label, self.dice)
        weights = dict.fromkeys(terms, 0.5)
        terms["entropy"] = voxel_entropy(answer.log_softmax(1)).mean() / math.log(logits.shape[1])
        weights["entropy"] = self.entropy_weight * sigmoid_ramp(step, self.rampup_steps)
        return LossTerms(
            terms, weights, {"pseudo_foreground": foreground_share(hard_labels(answer))}
        )

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The network learns both halves."""
        return {"student": Passes(learned=2)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network."""
        return self.student
