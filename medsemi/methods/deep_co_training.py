"""Deep co-training: two networks agree, and each resists what deceives the other.

Qiao, Shen, Zhang, Wang, Yuille: Deep Co-Training for Semi-Supervised Image Recognition, ECCV 2018,
arXiv 1803.05984; for segmentation Peng, Estrada, Pedersoli, Desrosiers: Deep co-training for
semi-supervised image segmentation, Pattern Recognition 2020, arXiv 1903.11233. Constants of
Labbeti/SSLH (`deep_co_training.py`).

Deviations from SSLH: both networks see the same labeled windows (there each its own); every term is
a mean over voxels (there one of the two entropies of the agreement is not divided by the number of
samples); the step of the attack is relative to the deviation of each window; attacks are made in
eval mode, which leaves batch norm alone. What SSL4MIS calls deep co-training is one network with
consistency under rotation, and not this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from medsemi.batch import Batch
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_range
from medsemi.parts.components import hard_labels
from medsemi.parts.entropy import mean_log_probability, voxel_entropy
from medsemi.parts.label_agreement import label_agreement
from medsemi.parts.losses import dice_form, labeled_losses, probabilities, voxel_cross_entropy
from medsemi.parts.modes import evaluated
from medsemi.parts.ramps import sigmoid_ramp
from medsemi.parts.two_networks import NetworkPair, require_different_starts


class DeepCoTraining(Method):
    """Two networks of different starts, kept different by adversarial windows of each other."""

    def __init__(
        self,
        network: nn.Module,
        network_b: nn.Module,
        *,
        rampup_steps: int,
        agreement_weight: float = 1.0,
        difference_weight: float = 0.5,
        epsilon: float = 0.02,
        dice: str = "linear",
        deploy: Literal["student_a", "both"] = "student_a",
    ) -> None:
        """Own both networks.

        Args:
            network: returns logits (batch, classes, *space).
            network_b: another one, of other weights and perhaps of another architecture.
            rampup_steps: steps until both terms have their weight; 0.3 of a training is usual.
            agreement_weight: weight of the Jensen-Shannon divergence after the ramp (lambda_cot).
            difference_weight: weight of the adversarial term after the ramp (lambda_diff).
            epsilon: step of the attack, by the standard deviation of each window.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: `student_a`, or `both`: the mean of their probabilities, at twice the cost.

        Raises:
            ConfigError: if an option is out of its range, or both networks have the same weights.
        """
        super().__init__()
        check_choice(("student_a", "both"), deploy=deploy)
        check_range(0, rampup_steps=rampup_steps, epsilon=epsilon)
        check_range(0, agreement_weight=agreement_weight, difference_weight=difference_weight)
        require_different_starts(network, network_b)
        self.both = NetworkPair(network, network_b)
        self.rampup_steps, self.epsilon = rampup_steps, epsilon
        self.agreement_weight, self.difference_weight = agreement_weight, difference_weight
        self.dice, self.deploy = dice_form(dice), deploy

    def draw(self, batch: Batch, generator: torch.Generator) -> None:
        """Draw nothing."""

    def forward(self, batch: Batch, draws: None, step: int) -> LossTerms:
        """Return the labeled terms of both, their agreement, and the adversarial term."""
        image, label, unlabeled = both_halves(batch)
        count, everything = len(image), torch.cat([image, unlabeled])
        networks = (self.both.first, self.both.second)
        logits = [network(everything) for network in networks]
        found = [hard_labels(z[count:].detach()) for z in logits]
        deceiving = [
            attack(network, everything, torch.cat([label, own]), self.epsilon)
            for network, own in zip(networks, found, strict=True)
        ]
        deceived = [networks[0](deceiving[1]), networks[1](deceiving[0])]

        terms: dict[str, Tensor] = {}
        for name, z in zip("ab", logits, strict=True):
            losses = labeled_losses(z[:count], label, self.dice)
            terms |= {f"{term}_{name}": loss for term, loss in losses.items()}
        weights = dict.fromkeys(terms, 0.5)
        terms["agreement"] = jensen_shannon(logits[0][count:], logits[1][count:]).mean()
        terms["difference"] = sum_of_cross_entropies(logits, deceived[::-1])
        ramp = sigmoid_ramp(step, self.rampup_steps)
        weights["agreement"] = self.agreement_weight * ramp
        weights["difference"] = self.difference_weight * ramp
        return LossTerms(terms, weights, {"student_agreement": label_agreement(*found)})

    @property
    def passes(self) -> Mapping[str, Passes]:
        """Each network learns both halves, plain and deceiving, and is attacked on both."""
        each = Passes(learned=4, attacked=2)
        return {"student_a": each, "student_b": each}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Each network, and the two together."""
        return {"student_a": self.both.first, "student_b": self.both.second, "both": self.both}

    @property
    def inference_network(self) -> nn.Module:
        """The first network; both where `deploy` says so."""
        return self.networks[self.deploy]


def attack(network: nn.Module, image: Tensor, label: Tensor, epsilon: float) -> Tensor:
    """Move `image` one step in the direction that raises the loss of `network` most.

    Source: Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples (fast
    gradient sign), ICLR 2015, arXiv 1412.6572.

    Args:
        network: that is to be deceived; it gets no gradient.
        image: shape (batch, channels, *space).
        label: class indices, shape (batch, *space).
        epsilon: length of the step, by the standard deviation of each sample and channel.
    """
    seen = image.detach().requires_grad_()
    with evaluated(network), torch.enable_grad():
        # A sum, whose gradient half precision can hold; its scale does not matter to the sign.
        loss = voxel_cross_entropy(network(seen), label).sum()
        (gradient,) = torch.autograd.grad(loss, seen)
    deviation = image.std(tuple(range(2, image.ndim)), correction=0, keepdim=True)
    return image + epsilon * deviation * gradient.sign()


def jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of each voxel in nats, from 0 to ln 2.

    Args:
        one: logits, shape (batch, classes, *space).
        other: those of the other network.
    """
    mean = voxel_entropy(mean_log_probability([one, other]))
    return mean - sum(voxel_entropy(z.float().log_softmax(1)) for z in (one, other)) / 2


def sum_of_cross_entropies(logits: list[Tensor], others: list[Tensor]) -> Tensor:
    """Return what each of `others` loses to the probabilities of its counterpart, summed.

    The gradient flows through both, as in SSLH.
    """
    pairs = zip(logits, others, strict=True)
    losses = [-(probabilities(p) * q.float().log_softmax(1)).sum(1).mean() for p, q in pairs]
    return torch.stack(losses).sum()
