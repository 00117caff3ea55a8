"""Deep supervision under any method: its loss at every scale of the decoder of its students.

Lee, Xie, Gallagher, Zhang, Tu: Deeply-Supervised Nets, AISTATS 2015, arXiv 1409.5185. Weights that fall
by the same factor from scale to scale, here `share`, and sum to 1, as in nnU-Net, which has 1/2
(`nnUNetTrainer.py`); there targets are reduced and the coarsest scale counts nothing, here logits are
enlarged and all scales count, as in URPC.

The heads are no part of a network: they are not averaged, not scored and not deployed. A label that a
student makes for itself in a pass that learns comes, at each scale, from that scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.errors import ConfigError
from medsemi.methods.method import LossTerms, Method
from medsemi.networks.stages import decoder_stages, out_channels
from medsemi.parts.recalled_passes import RecalledPasses, RecalledResults
from medsemi.seeds import derive_seed
from medsemi.training.student_views import run_by_methods


class DeepSupervision(nn.Module):
    """The loss of a method, and the same at coarser scales of what its students see."""

    def __init__(self, method: Method, share: float, seed: int) -> None:
        """Give every network that learns a head for each coarse stage that the decoders of all have.

        Args:
            method: on its device; it keeps its own networks.
            share: weight of a scale by that of the next finer one, above 0 to 1.
            seed: of the weights of the heads.

        Raises:
            ConfigError: if `share` is something else, the method moves labels by what a network says,
                or the stages of a network are not known.
        """
        super().__init__()
        if not 0 < share <= 1:
            raise ConfigError(f"deep_supervision is {share}; give 0 to switch it off, up to 1.")
        if method.moves_labels:
            # Each scale would choose and move other blocks than the window that was seen.
            raise ConfigError(
                "deep_supervision does not go with a UCF-Mix of mode 'displaced'; set it to 0, or take"
                " mode union."
            )
        self.method, self.share = method, share
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "deep_supervision"))
            self.recalled = [_recalled(network) for network in _own_networks(method)]
        results = [RecalledResults(method, name) for name in method.same_at_every_scale]
        self.memories: list[RecalledPasses | RecalledResults] = [*self.recalled, *results]
        learning = [one for one in self.recalled if len(one.heads)]
        for one in learning:
            one.limit(min(len(other.heads) for other in learning))
        self.heads = nn.ModuleList(one.heads for one in learning)
        self.heads.to(next(method.parameters()).device)

    def forward(self, batch: Batch, draws: Any, step: int) -> LossTerms:  # noqa: ANN401
        """Return the terms of the full scale, and the loss of each coarser one as `scale_1`, ...

        Args:
            batch: the windows of the step.
            draws: of the method.
            step: the number of the step, from 0.
        """
        try:
            for one in self.memories:
                one.keep()
            found: LossTerms = self.method(batch, draws, step)
            losses = [self._again(scale, batch, draws, step) for scale in range(self.scales)]
        finally:
            for one in self.memories:
                one.forget()
        weights = [self.share**scale for scale in range(self.scales + 1)]
        weights = [weight / sum(weights) for weight in weights]
        coarse = {f"scale_{scale}": loss for scale, loss in enumerate(losses, 1)}
        return LossTerms(
            {**found.terms, **coarse},
            {
                **{name: weights[0] * weight for name, weight in found.weights.items()},
                **dict(zip(coarse, weights[1:], strict=True)),
            },
            found.monitors,
        )

    @property
    def scales(self) -> int:
        """Number of coarse scales, which all networks that learn have."""
        return len(self.heads[0])  # type: ignore[arg-type]  # of a ModuleList

    def _again(self, scale: int, batch: Batch, draws: Any, step: int) -> Tensor:  # noqa: ANN401
        with ExitStack() as stack:
            for one in self.memories:
                stack.enter_context(one.answering(scale))
            terms: LossTerms = self.method(batch, draws, step)
        return terms.total


def _own_networks(method: Method) -> list[nn.Module]:
    """The networks of a method, without those that only ask others of them."""
    networks = [run_by_methods(network) for network in method.networks.values()]
    return [
        network
        for network in networks
        if not any(other in list(network.modules())[1:] for other in networks)
    ]


def _recalled(network: nn.Module) -> RecalledPasses:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return RecalledPasses(network, {}, 0)
    stages: Mapping[str, int] = decoder_stages(network)
    if not stages:
        raise ConfigError(
            f"deep_supervision: the stages of the decoder of {type(network).__name__} are not known;"
            " set it to 0, or take VNet, UNet2D or DynUNet."
        )
    return RecalledPasses(network, stages, out_channels(network))
