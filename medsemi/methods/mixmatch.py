"""MixMatch: guessed labels are averaged over views, sharpened, and mixed with true ones.

Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel: MixMatch, NeurIPS 2019, arXiv 1905.02249,
carried over to segmentation: a guess per voxel, whose views are turned back before they are
averaged. Two ideas of ReMixMatch (Berthelot et al., ICLR 2020, arXiv 1911.09785) are settings:
distribution alignment, and strong views anchored to the guess of weak ones. As in the comparison of
Cances, Labbe, Pellegrini (2022; code Labbeti/SSLH):

                     MixMatch   ReMixMatch
    unlabeled_weight 1          1.5
    views            None       IntensityViews()
    anchor_weight    0          0.5
    alignment        0          1
    rampup_steps     16,000     0

Deviations: weak views are turns alone; guesses are made in eval mode; the labeled loss is half Dice
and half cross entropy, as in all methods (`dice_weight=0` is the paper's); class frequencies are
moving averages (there of the last 128 batches), raised to `alignment`, and are those of voxels,
which misleads where labeled windows are cut around the foreground and unlabeled ones are not;
ReMixMatch's prediction of rotations is left out, and its mixtures learn by squared differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medsemi.batch import Batch
from medsemi.errors import ConfigError
from medsemi.methods.method import LossTerms, Method, Passes, both_halves
from medsemi.parts.checked_options import check_choice, check_positive, check_range
from medsemi.parts.consistency import squared_difference
from medsemi.parts.intensity_views import IntensityDraw, IntensityViews
from medsemi.parts.losses import dice_form, one_hot, probabilities
from medsemi.parts.mixing import blend, draw_shares
from medsemi.parts.modes import evaluated
from medsemi.parts.ramps import linear_ramp
from medsemi.parts.sending import chosen
from medsemi.parts.teacher import BufferRule, EmaTeacher, of_latest
from medsemi.parts.turns import Turn, draw_turns, turn, turn_back


@dataclass(frozen=True, slots=True)
class MixMatchDraws:
    """The random decisions of a step.

    Attributes:
        turns: of each unlabeled window, one for each of its views.
        intensity: of all unlabeled windows, one for each view; empty without strong views.
        partner: of all labeled windows and then of all views, the one that it is mixed with.
        shares: of the partner, at most 1/2.
    """

    turns: tuple[tuple[Turn, ...], ...]
    intensity: tuple[IntensityDraw, ...]
    partner: tuple[int, ...]
    shares: tuple[float, ...]


class MixMatch(Method):
    """One network guesses labels over several views and learns mixtures of all it has."""

    def __init__(
        self,
        network: nn.Module,
        *,
        rampup_steps: int,
        unlabeled_weight: float = 1.0,
        guesses: int = 2,
        temperature: float = 0.5,
        alpha: float = 0.75,
        views: IntensityViews | None = None,
        anchor_weight: float = 0.0,
        alignment: float = 0.0,
        classes: int | None = None,
        history: int = 128,
        dice_weight: float = 0.5,
        ema_decay: float = 0.999,
        ema_buffers: BufferRule = "copy",
        dice: str = "linear",
        deploy: Literal["student", "teacher"] = "teacher",
    ) -> None:
        """Own the network, and its moving average for inference.

        Args:
            network: returns logits (batch, classes, *space).
            rampup_steps: steps until unlabeled windows have their weight, linearly.
            unlabeled_weight: weight of mixtures of unlabeled windows (75 to 100 in the paper).
            guesses: views that a guess is averaged over (K).
            temperature: of the sharpening (T).
            alpha: shares are drawn from Beta(alpha, alpha).
            views: makes the views that are learned strong ones; None learns the weak ones.
            anchor_weight: weight of the cross entropy of one view that is not mixed.
            alignment: exponent of the ratio of class frequencies that guesses are multiplied with;
                0 leaves them, 1 is ReMixMatch's.
            classes: with the background; needed for alignment.
            history: batches over which class frequencies are averaged.
            dice_weight: share of the Dice in the labeled loss; the rest is cross entropy.
            ema_decay: share of the average that stays at each step after the warm-up.
            ema_buffers: what its batch-norm statistics follow, see `update_teacher`.
            dice: `linear` or `squared`, see `medsemi.parts.losses`.
            deploy: `teacher` is the moving average, which does not teach here.

        Raises:
            ConfigError: if an option is out of its range, or alignment is asked for without the
                number of classes.
        """
        super().__init__()
        check_choice(("student", "teacher"), deploy=deploy)
        check_range(0, 1, dice_weight=dice_weight)
        check_range(0, rampup_steps=rampup_steps, unlabeled_weight=unlabeled_weight)
        check_range(0, anchor_weight=anchor_weight, alignment=alignment)
        check_range(1, guesses=guesses, history=history)
        check_positive(temperature=temperature, alpha=alpha)
        if alignment != 0.0 and classes is None:
            raise ConfigError("alignment needs the number of classes; give classes.")
        self.student = network
        # It teaches nobody: what is deployed is of the latest steps, also after a short training.
        self.teacher = EmaTeacher(network, ema_decay, ema_buffers, of_latest)
        self.rampup_steps, self.unlabeled_weight = rampup_steps, unlabeled_weight
        self.guesses, self.temperature, self.alpha = guesses, temperature, alpha
        self.views, self.anchor_weight, self.alignment = views, anchor_weight, alignment
        self.history, self.dice_weight = history, dice_weight
        self.dice, self.deploy = dice_form(dice), deploy
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.full((2, classes or 1), 1.0 / (classes or 1)))
        self.seen: Tensor | None = None

    def draw(self, batch: Batch, generator: torch.Generator) -> MixMatchDraws:
        """Draw turns, strong views, partners and shares."""
        labeled, _, unlabeled = both_halves(batch)
        count, space = len(unlabeled), unlabeled.shape[2:]
        square = batch.unlabeled is not None and batch.unlabeled.square_voxels
        turns = [
            draw_turns(count, space, generator, square_voxels=square) for _ in range(self.guesses)
        ]
        strong = [self.views.draw(count, generator) for _ in turns] if self.views else []
        total = len(labeled) + self.guesses * count
        partner = torch.randperm(total, generator=generator).tolist()
        shares = tuple(min(s, 1.0 - s) for s in draw_shares(total, self.alpha, generator))
        return MixMatchDraws(tuple(zip(*turns, strict=True)), tuple(strong), tuple(partner), shares)

    def forward(self, batch: Batch, draws: MixMatchDraws, step: int) -> LossTerms:
        """Return the loss of labeled mixtures, of unlabeled ones, and of the anchored view."""
        image, label, unlabeled = both_halves(batch)
        count, turns = len(image), list(zip(*draws.turns, strict=True))
        mean = self.mean_prediction(unlabeled, turns)
        true = one_hot(label, mean.shape[1])
        self.seen = torch.stack([class_frequencies(true), class_frequencies(mean)])
        guess = sharpen(self.aligned(mean), self.temperature)

        views = self.learned_views(unlabeled, turns, draws.intensity)
        guesses = [turn(guess, one) for one in turns]
        target = self.mixture(torch.cat([true, *guesses]), draws)
        mixed = self.mixture(torch.cat([image, *views]), draws)
        plain = views[:1] if self.anchor_weight != 0.0 else []
        logits = self.student(torch.cat([mixed, *plain]))
        of_mixed, of_plain = logits[: len(mixed)], logits[len(mixed) :]

        terms = self.labeled_terms(of_mixed[:count], target[:count])
        weights = {"ce_labeled": 1.0 - self.dice_weight, "dice_labeled": self.dice_weight}
        terms["unlabeled"] = squared_difference(of_mixed[count:], target[count:])
        ramp = linear_ramp(step, self.rampup_steps)
        weights["unlabeled"] = self.unlabeled_weight * ramp
        if plain:
            terms["anchor"] = functional.cross_entropy(of_plain.float(), guesses[0])
            weights["anchor"] = self.anchor_weight * ramp
        foreground = 1.0 - guess[:, 0].mean()
        return LossTerms(terms, weights, {"guessed_foreground": foreground})

    def mean_prediction(self, image: Tensor, turns: Sequence[Sequence[Turn]]) -> Tensor:
        """Return the mean of the probabilities of all weak views, each turned back."""
        with evaluated(self.student), torch.no_grad():
            answers = [
                turn_back(probabilities(self.student(turn(image, one))), one) for one in turns
            ]
        return torch.stack(answers).mean(0)

    def aligned(self, mean: Tensor) -> Tensor:
        """Multiply probabilities by how much rarer their class is guessed than labeled."""
        if self.alignment == 0.0:
            return mean
        known, told = self.frequencies.shape[1], mean.shape[1]
        if known != told:
            raise ConfigError(f"classes is {known}, and the network tells {told}; give {told}.")
        true, guessed = self.frequencies + 1e-6
        ratio = (true / guessed) ** self.alignment
        scaled: Tensor = mean * ratio.view(1, -1, *[1] * (mean.ndim - 2))
        return scaled / scaled.sum(1, keepdim=True)

    def learned_views(
        self, image: Tensor, turns: Sequence[Sequence[Turn]], intensity: Sequence[IntensityDraw]
    ) -> list[Tensor]:
        """Return the views that are learned: turned, and strong where such are drawn."""
        if self.views is None:
            return [turn(image, one) for one in turns]
        return [
            turn(self.views.apply(image, draw), one)
            for one, draw in zip(turns, intensity, strict=True)
        ]

    def mixture(self, values: Tensor, draws: MixMatchDraws) -> Tensor:
        """Mix each of all windows, or of their targets, with its partner."""
        return blend(values, chosen(values, draws.partner), draws.shares)

    def labeled_terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return Dice and cross entropy towards mixed labels, probabilities of the same shape."""
        everywhere = torch.ones(logits.shape[2:], dtype=torch.bool, device=logits.device)
        return {
            "dice_labeled": self.dice(probabilities(logits), target, everywhere),
            "ce_labeled": functional.cross_entropy(logits.float(), target),
        }

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the average network, and the class frequencies that the last step has seen."""
        self.teacher.follow(self.student, step)
        if self.alignment != 0.0 and self.seen is not None:
            self.frequencies.lerp_(self.seen, 1.0 / self.history)

    @property
    def passes(self) -> Mapping[str, Passes]:
        """The network guesses on all weak views, and learns labeled windows and all views."""
        learned = 1.0 + self.guesses + (self.anchor_weight != 0.0)
        return {"student": Passes(learned=learned, watched=self.guesses)}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network and its moving average."""
        return {"student": self.student, "teacher": self.teacher.network}

    @property
    def inference_network(self) -> nn.Module:
        """The moving average in the paper; the network itself where `deploy` says so."""
        return self.networks[self.deploy]


def sharpen(probability: Tensor, temperature: float) -> Tensor:
    """Return p^(1 / temperature), normalized over the classes (axis 1).

    A power of the ratio to the largest probability, which no small temperature makes zero.
    """
    power = (probability / probability.amax(1, keepdim=True)) ** (1.0 / temperature)
    return power / power.sum(1, keepdim=True)


def class_frequencies(probability: Tensor) -> Tensor:
    """Return the mean of each class over samples and voxels, without a graph; shape (classes)."""
    return probability.detach().transpose(0, 1).flatten(1).mean(1)
