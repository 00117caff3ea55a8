"""URPC: the scales of one decoder agree, where they do not differ too much.

Luo, Liao, Chen, Song, Chen, Zhang, Chen, Wang, Zhang: Efficient Semi-supervised Gross Target Volume
of Nasopharyngeal Carcinoma Segmentation via Uncertainty Rectified Pyramid Consistency, MICCAI 2021,
arXiv 2012.07042. Constants of SSL4MIS (`train_uncertainty_rectified_pyramid_consistency_2D.py`).

Deviations from SSL4MIS: its network has heads of its own, here the method adds them to any network
whose decoder stages can be named, and they are not deployed; the logits of coarse scales are
enlarged linearly (there nearest, which displaces them by half a voxel); logarithms are those of a
log-softmax; all heads have the same channel dropout (there one has it, one drops what is attended
most, one has noise); the length of the ramp, there the whole training, has no default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_range
from medsemi.parts.entropy import mean_log_probability
from medsemi.parts.losses import dice_form, labeled_losses
from medsemi.parts.named_part import named_part
from medsemi.parts.ramps import sigmoid_ramp


class URPC(Method):
    """One network whose decoder stages each give a segmentation; all of them learn their mean."""

    has_coarse_heads = True

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: int,
        stages: Mapping[str, int],
        rampup_steps: int,
        consistency_weight: float = 0.1,
        head_dropout: float = 0.5,
        detach_mean: bool = False,
        dice: str = "linear",
    ) -> None:
        """Own the network, and a head for each stage of its decoder.

        Args:
            network: returns logits (batch, classes, *space).
            classes: with the background.
            stages: parts of `network` whose output a head segments -> channels of that output. For
                `UNet2D()`: decoder.up1: 128, decoder.up2: 64, decoder.up3: 32; for `VNet()`:
                decoder.block_six: 128, decoder.block_seven: 64, decoder.block_eight: 32.
            rampup_steps: steps until the consistency has its weight; 0.3 of a training is usual.
            consistency_weight: weight after the ramp.
            head_dropout: probability of dropping a channel before a head, in train mode only.
            detach_mean: take no gradient through the mean of the scales; the paper takes it.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.

        Raises:
            ConfigError: if an option is out of its range, or the network has no part of such a
                name.
        """
        super().__init__()
        check_range(0, 1, head_dropout=head_dropout)
        check_range(0, rampup_steps=rampup_steps, consistency_weight=consistency_weight)
        self.student = network
        axes = max(p.ndim for p in network.parameters()) - 2
        convolution, dropout = {2: (nn.Conv2d, nn.Dropout2d), 3: (nn.Conv3d, nn.Dropout3d)}[axes]
        self.heads = nn.ModuleList(
            nn.Sequential(dropout(head_dropout), convolution(channels, classes, 3, padding=1))
            for channels in stages.values()
        )
        self.seen: dict[str, Tensor] | None = None
        self.stages = tuple(stages)
        for name in stages:
            part = named_part(network, name, "stages")
            part.register_forward_hook(partial(self._see, name))
        self.rampup_steps, self.consistency_weight = rampup_steps, consistency_weight
        self.detach_mean, self.dice = detach_mean, dice_form(dice)

    def draw(self, batch: Batch, generator: torch.Generator) -> None:
        """Draw nothing."""

    def forward(self, batch: Batch, draws: None, step: int) -> LossTerms:
        """Return the labeled terms, averaged over scales, and the consistency of the scales."""
        image, label, unlabeled = both_halves(batch)
        scales = self.pyramid(torch.cat([image, unlabeled]))
        losses = [labeled_losses(z[: len(image)], label, self.dice) for z in scales]
        terms = {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}
        weights = dict.fromkeys(terms, 0.5)
        terms["consistency"] = pyramid_consistency(
            [z[len(image) :] for z in scales], detach_mean=self.detach_mean
        )
        weights["consistency"] = self.consistency_weight * sigmoid_ramp(step, self.rampup_steps)
        return LossTerms(terms, weights)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the logits of the network and of each head, all in the size of `image`."""
        with self._watching() as seen:
            logits = self.student(image)
        coarse = [head(seen[name]) for head, name in zip(self.heads, self.stages, strict=True)]
        mode = "bilinear" if image.ndim == 4 else "trilinear"
        return [logits, *(functional.interpolate(z, image.shape[2:], mode=mode) for z in coarse)]

    @contextmanager
    def _watching(self) -> Iterator[dict[str, Tensor]]:
        self.seen = {}
        try:
            yield self.seen
        finally:
            self.seen = None

    def _see(
        self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if self.seen is not None:
            self.seen[name] = output

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The network learns both halves; the heads are small beside it."""
        return {"student": Passes(learned=2)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The one network, without the heads."""
        return {"student": self.student}

    @property
    def inference_network(self) -> nn.Module:
        """The one network, without the heads."""
        return self.student


def pyramid_consistency(logits: Sequence[Tensor], *, detach_mean: bool = False) -> Tensor:
    """Return the mean over scales of the rectified squared difference to their mean, plus KL.

    Each scale's difference counts by exp(-KL(mean, scale)) of the voxel, so that scales which are
    far off pull less; the KL itself keeps them from moving away.

    Args:
        logits: of each scale, all of shape (batch, classes, *space).
        detach_mean: take no gradient through the mean.
    """
    mean_log = mean_log_probability(logits)
    mean_log = mean_log.detach() if detach_mean else mean_log
    mean, terms = mean_log.exp(), []
    for one in logits:
        log = one.float().log_softmax(1)
        divergence = (mean * (mean_log - log)).sum(1, keepdim=True)
        trust = torch.exp(-divergence)
        difference = ((mean - log.exp()).square() * trust).mean()
        terms.append(difference / (trust.mean() + 1e-8) + divergence.mean())
    return torch.stack(terms).mean()
