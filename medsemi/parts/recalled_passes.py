"""A network that answers again, at a coarser scale of its decoder, without another pass.

Deep supervision asks for the loss of a method at every scale, and only the method knows the target of
a window that it mixed. So the method runs once more for each scale, on the same batch and draws, while
its networks recall the first run:

- a pass that learned answers with the logits of that scale's head, enlarged;
- a pass without gradients, such as that of a teacher, answers what it answered before;
- a pass that is attacked, with gradients to the window alone, is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from medsemi.parts.modes import evaluated
from medsemi.parts.named_part import named_part


@dataclass(frozen=True, slots=True)
class Pass:
    """What is kept of a pass.

    Attributes:
        logits: its answer.
        features: of the stages, from fine to coarse; empty where it did not learn.
    """

    logits: Tensor
    features: Sequence[Tensor] = ()


class RecalledPasses:
    """Keeps the passes of one network while a method runs, and answers from them afterwards."""

    def __init__(self, network: nn.Module, stages: Mapping[str, int], classes: int) -> None:
        """Stand between the network and what calls it.

        Args:
            network: returns logits (batch, classes, *space); its `forward` is replaced.
            stages: its parts whose output a head segments, from coarse to fine -> their channels;
                none for a network that does not learn.
            classes: channels of the logits.

        Raises:
            ConfigError: if the network has no part of such a name.
        """
        axes = max(p.ndim for p in network.parameters()) - 2
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.mode = {2: "bilinear", 3: "trilinear"}[axes]
        fine_to_coarse = list(stages.items())[::-1]
        self.heads = nn.ModuleList(convolution(count, classes, 1) for _, count in fine_to_coarse)
        self.network = network
        self._features: dict[str, Tensor] | None = None
        self._kept: list[Pass | None] | None = None
        self._turn = 0
        self._scale: int | None = None
        self.stages = [name for name, _ in fine_to_coarse]
        for name in self.stages:
            named_part(network, name, "stages").register_forward_hook(partial(self._see, name))
        self._compute: Callable[[Tensor], Tensor] = network.forward
        network.forward = self._answer

    def keep(self) -> None:
        """Keep the passes from now on."""
        self._kept = []

    @contextmanager
    def answering(self, scale: int) -> Iterator[None]:
        """Answer the same passes at one scale; 0 is that of the finest head.

        The network is in eval mode meanwhile, so that nothing takes its passes for new ones that
        learn.
        """
        self._turn, self._scale = 0, scale
        try:
            with evaluated(self.network):
                yield
        finally:
            self._scale = None

    def forget(self) -> None:
        """Let go of all passes."""
        self._kept = None

    def _answer(self, image: Tensor) -> Tensor:
        if self._kept is None:
            return self._compute(image)
        if self._scale is None:
            return self._keep(image, self._kept)
        known = self._kept[self._turn]
        self._turn += 1
        if known is None:
            return self._compute(image)
        if not known.features:
            return known.logits
        logits: Tensor = self.heads[self._scale](known.features[self._scale])
        return functional.interpolate(logits, known.logits.shape[2:], mode=self.mode)

    def _keep(self, image: Tensor, kept: list[Pass | None]) -> Tensor:
        learns = torch.is_grad_enabled() and self.network.training
        attacked = torch.is_grad_enabled() and not learns
        self._features = {} if learns else None
        logits = self._compute(image)
        features = [self._features[name] for name in self.stages] if self._features else []
        kept.append(None if attacked else Pass(logits, features))
        self._features = None
        return logits

    def _see(
        self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if self._features is not None:
            self._features[name] = output
