"""What a method is: the loss of one step, and what follows the optimizer.

The trainer does not know which method runs; a method knows no device, file, or logger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Named scalars of one step; the total is derived, never stored beside them.

    Attributes:
        terms: name -> unweighted scalar in float32.
        weights: name -> weight of the term of that name.
        monitors: name -> scalar that is logged and not optimized.
    """

    terms: dict[str, Tensor]
    weights: dict[str, float]
    monitors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The weighted sum, which is what is differentiated."""
        return torch.stack([self.weights[name] * term for name, term in self.terms.items()]).sum()

    def detached(self) -> dict[str, Tensor]:
        """Everything that is logged, without graph: `loss`, `loss/<term>` and the monitors."""
        values = {"loss": self.total.detach()}
        values |= {f"loss/{name}": term.detach() for name, term in self.terms.items()}
        return values | {name: value.detach() for name, value in self.monitors.items()}


@dataclass(frozen=True, slots=True)
class Passes:
    """How many windows a network sees in a step, by windows of one half (halves of equal size).

    Attributes:
        learned: forward, and backward to the weights.
        watched: forward alone.
        attacked: forward, and backward to the window alone.
    """

    learned: float = 0.0
    watched: float = 0.0
    attacked: float = 0.0

    @property
    def cost(self) -> float:
        """Work, by that of a supervised step.

        A backward pass is twice a forward one, half of it for weights, half for activations.
        """
        return self.learned + self.watched / 3 + self.attacked * 2 / 3


def both_halves(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return labeled windows, their labels, and unlabeled windows.

    Raises:
        ConfigError: if there are no unlabeled windows.
    """
    assert batch.labeled.label is not None
    if batch.unlabeled is None:
        raise ConfigError(
            "The batch holds no unlabeled windows, which this method learns from; set"
            " unlabeled_windows to at least 1."
        )
    return batch.labeled.image, batch.labeled.label, batch.unlabeled.image


class Method(nn.Module, ABC):
    """An algorithm that learns from labeled and unlabeled windows.

    A method owns its networks as sub-modules, so that `state_dict`, `.to()` and `.train()` work by
    themselves, and its `forward` is the loss, so that whatever wraps a module wraps a method.

    Attributes:
        has_coarse_heads: whether it supervises several scales of a decoder itself.
        moves_labels: whether it moves labels by what its networks say of a window.
        same_at_every_scale: its functions that need not run again for each scale that deep
            supervision adds, see `RecalledResults`.
    """

    has_coarse_heads: ClassVar[bool] = False
    moves_labels: bool = False
    same_at_every_scale: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def draw(self, batch: Batch, generator: torch.Generator) -> Any:  # noqa: ANN401  (its own record)
        """Draw all random numbers of a step, on the CPU, as a small frozen record."""

    @abstractmethod
    def forward(self, batch: Batch, draws: Any, step: int) -> LossTerms:  # noqa: ANN401
        """Return the loss of a step: a pure function of weights, batch, draws and step.

        Args:
            batch: the windows of the step, on the device of the networks.
            draws: what `draw` returned.
            step: the number of the step, from 0.
        """

    def after_step(self, step: int) -> None:
        """Do what follows the optimizer step, such as updating a teacher."""

    @property
    @abstractmethod
    def passes(self) -> Mapping[str, Passes]:
        """What each network sees in a step (past any warm-up), by the names of `networks`."""

    @property
    def cost(self) -> float:
        """Work of a step by that of a supervised step, counted in passes."""
        return sum(passes.cost for passes in self.passes.values())

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks that are scored separately and logged, by name."""

    @property
    @abstractmethod
    def inference_network(self) -> nn.Module:
        """The network that is deployed."""
