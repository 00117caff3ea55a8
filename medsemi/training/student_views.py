"""What the learning networks see: the windows of a step with other intensities.

The change comes between a method and a network that learns, whatever the method does with windows
before (copy-paste, mixtures, noise). A teacher, a network that labels for itself without gradients,
and every network in eval mode see what the method gave them: the weak view of methods with two.

A pass is changed by a draw that depends on seed, step, rank, network and the number of the pass in
its step alone, so that a training that was killed sees the same again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.parts.views import OnView
from medsemi.seeds import derive_generator


def run_by_methods(network: nn.Module) -> nn.Module:
    """Return what a method runs of a network: one on a fixed view is given that view itself."""
    return network.network if isinstance(network, OnView) else network


class StudentViews:
    """Changes the input of every network that learns."""

    def __init__(
        self, augmentation: IntensityAugmentation, networks: Mapping[str, nn.Module]
    ) -> None:
        """Watch the networks.

        Args:
            augmentation: decides and applies the changes.
            networks: of a method, by name; those without trainable parameters are left alone.
        """
        self.augmentation = augmentation
        self._step: tuple[int | str, ...] = ()
        self._passes: Counter[str] = Counter()
        if augmentation.probability == 0:
            return
        for name, network in networks.items():
            if any(parameter.requires_grad for parameter in network.parameters()):
                seen = torch.compiler.disable(partial(self._seen, name))  # a draw is no graph
                run_by_methods(network).register_forward_pre_hook(seen)

    def begin(self, *step: int | str) -> None:
        """Say which step (seed, number, rank) the next passes belong to."""
        self._step = step
        self._passes.clear()

    def _seen(self, name: str, network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        image: Tensor = inputs[0]
        if not network.training or not torch.is_grad_enabled():
            return inputs
        generator = derive_generator(*self._step, "intensity", name, self._passes[name])
        self._passes[name] += 1
        draw = self.augmentation.draw(len(image), generator)
        return (self.augmentation.apply(image, draw), *inputs[1:])
