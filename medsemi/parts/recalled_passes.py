"""A network that answers again, at a coarser scale of its decoder, without another pass.

Deep supervision asks for the loss of a method at every scale, and only the method knows the target of
a window that it mixed. So the method runs once more for each scale, on the same batch and draws, while
its networks recall the first run:

- a pass that learned answers with the logits of that scale's head, enlarged;
- a pass without gradients, such as that of a teacher, answers what it answered before;
- a pass that is attacked, with gradients to the window alone, answers what it answered before and
  with gradients of zero, since what is done with the attacked window is recalled as well.

What else a method computes alike at every scale, such as filtered labels, is recalled in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

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
        attacked: whether its gradients went to the window.
    """

    logits: Tensor
    features: Sequence[Tensor] = ()
    attacked: bool = False


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
        self._kept: list[Pass] | None = None
        self._turn = 0
        self._scale: int | None = None
        self.stages = [name for name, _ in fine_to_coarse]
        for name in self.stages:
            named_part(network, name, "stages").register_forward_hook(partial(self._see, name))
        self._compute: Callable[[Tensor], Tensor] = network.forward
        network.forward = self._answer

    def limit(self, scales: int) -> None:
        """Give up all heads but those of the finest `scales`: one that is never asked never learns."""
        self.heads, self.stages = self.heads[:scales], self.stages[:scales]

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
        if known.attacked:
            return known.logits + 0.0 * image.flatten()[0]
        if not known.features:
            return known.logits
        logits: Tensor = self.heads[self._scale](known.features[self._scale])
        return functional.interpolate(logits, known.logits.shape[2:], mode=self.mode)

    def _keep(self, image: Tensor, kept: list[Pass]) -> Tensor:
        learns = torch.is_grad_enabled() and self.network.training
        attacked = torch.is_grad_enabled() and not learns
        self._features = {} if learns else None
        logits = self._compute(image)
        features = [self._features[name] for name in self.stages] if self._features else []
        kept.append(Pass(logits.detach() if attacked else logits, features, attacked))
        self._features = None
        return logits

    def _see(
        self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if self._features is not None:
            self._features[name] = output


class RecalledResults:
    """Keeps what one function of a method returned, and returns the same again in the same order."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        """Stand between the method and its own calls.

        Args:
            owner: the method; its function is replaced.
            name: of a function whose results are the same at every scale, and which asks no network
                that is asked elsewhere, since these count their passes.
        """
        self._compute: Callable[..., Any] = getattr(owner, name)
        self._kept: list[Any] | None = None
        self._turn: int | None = None
        setattr(owner, name, self._answer)

    def keep(self) -> None:
        """Keep the results from now on."""
        self._kept = []

    @contextmanager
    def answering(self, scale: int) -> Iterator[None]:
        """Return the same results again, which are those of any scale."""
        self._turn = 0
        try:
            yield
        finally:
            self._turn = None

    def forget(self) -> None:
        """Let go of all results."""
        self._kept = None

    def _answer(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (of any function)
        if self._kept is None:
            return self._compute(*args, **kwargs)
        if self._turn is None:
            self._kept.append(self._compute(*args, **kwargs))
            return self._kept[-1]
        self._turn += 1
        return self._kept[self._turn - 1]
