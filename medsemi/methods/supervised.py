"""Labels only: the baseline of every table."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes
from medsemi.parts.losses import dice_form, labeled_losses


class Supervised(Method):
    """Mean of Dice and cross entropy on the labeled windows; unlabeled ones are not used."""

    def __init__(self, network: nn.Module, *, dice: str = "linear") -> None:
        """Own the network.

        Args:
            network: returns logits (batch, classes, *space).
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
        """
        super().__init__()
        self.student = network
        self.dice = dice_form(dice)

    def draw(self, batch: Batch, generator: torch.Generator) -> None:
        """Draw nothing."""

    def forward(self, batch: Batch, draws: None, step: int) -> LossTerms:
        """Return Dice and cross entropy over the whole windows, weighted one half each."""
        assert batch.labeled.label is not None
        logits = self.student(batch.labeled.image)
        terms = labeled_losses(logits, batch.labeled.label, self.dice)
        return LossTerms(terms, dict.fromkeys(terms, 0.5))

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Labeled windows, once."""
        return {"student": Passes(learned=1)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network."""
        return self.student
