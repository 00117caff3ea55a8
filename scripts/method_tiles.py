"""Real images for the pictures of the methods: what each method makes of the same phantom slices.

Networks that were trained for some steps on a few labeled slices answer, so that labels are as
imperfect as in the middle of a training. Views, boxes, blends and pseudo-labels come from the code
of the methods.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from diagram import ANSWER, PSEUDO, TRUE
from tile_pixels import Pixels, boxed, heat, outlined, scan, shaded
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.data.phantoms import make_phantom
from medsemi.methods.bcp import BCP
from medsemi.methods.deep_co_training import attack
from medsemi.methods.dual_mean_teacher import DualMeanTeacher
from medsemi.methods.fixmatch import FixMatch
from medsemi.methods.frequency_copy_paste import FrequencyCopyPaste
from medsemi.methods.mean_teacher import MeanTeacher
from medsemi.methods.mixmatch import MixMatch, sharpen
from medsemi.methods.supervised import Supervised
from medsemi.methods.uncertainty_aware_mean_teacher import UncertaintyAwareMeanTeacher
from medsemi.methods.unimatch import UniMatch
from medsemi.methods.urpc import URPC
from medsemi.networks.unet2d import UNet2D
from medsemi.parts.components import hard_labels
from medsemi.parts.copy_paste import mix, outside_mask
from medsemi.parts.entropy import mean_log_probability, voxel_entropy
from medsemi.parts.losses import probabilities
from medsemi.parts.mixing import blend
from medsemi.parts.modes import dropping_out
from medsemi.parts.noise import add_noise
from medsemi.parts.pseudo_labels import confident_labels
from medsemi.parts.turns import turn

Tiles = dict[str, Pixels]

SLICE = 15


@dataclass(frozen=True)
class Scene:
    """What all pictures show.

    Attributes:
        batch: two labeled slices and two unlabeled ones, 48 x 48.
        network_a: trained on four labeled slices.
        network_b: the same from another start.
    """

    batch: Batch
    network_a: nn.Module
    network_b: nn.Module

    @property
    def image(self) -> Tensor:
        """Labeled slices, (2, 1, 48, 48)."""
        return self.batch.labeled.image

    @property
    def label(self) -> Tensor:
        """Their labels, (2, 48, 48)."""
        assert self.batch.labeled.label is not None
        return self.batch.labeled.label

    @property
    def unlabeled(self) -> Tensor:
        """Unlabeled slices, (2, 1, 48, 48)."""
        assert self.batch.unlabeled is not None
        return self.batch.unlabeled.image


def generator(seed: int) -> torch.Generator:
    """A generator of draws."""
    return torch.Generator().manual_seed(seed)


def make_scene(steps: int) -> Scene:
    """Make the slices and train both networks on labels alone.

    Args:
        steps: of the optimizer, for each network.
    """
    first = slices(range(4))
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(trained(UNet2D(1, 2), first, steps))
    labeled = Sub(first.image[:2], first.label[:2] if first.label is not None else None, ("0", "1"))
    return Scene(Batch(labeled, Sub(slices([5, 7]).image, None, ("5", "7"))), *networks)


def slices(cases: range | list[int]) -> Sub:
    """The middle slice of phantoms, by their numbers."""
    phantoms = [make_phantom(case) for case in cases]
    image = torch.from_numpy(np.stack([p.image[:, :, SLICE] for p in phantoms])).unsqueeze(1)
    label = torch.from_numpy(np.stack([p.label[:, :, SLICE] for p in phantoms]))
    return Sub(image, label, tuple(map(str, cases)))


def trained(network: nn.Module, labeled: Sub, steps: int) -> nn.Module:
    """The network after some steps with labels, in eval mode."""
    method = Supervised(network).train()
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.zero_grad()
        method(Batch(labeled), None, step).total.backward()
        optimizer.step()
    return network.eval()


def foreground(logits: Tensor) -> Tensor:
    """The probability of class 1, (batch, 48, 48)."""
    return probabilities(logits)[:, 1]


@torch.no_grad()
def common(scene: Scene) -> Tiles:
    """What most pictures begin with: windows, the label, and the answer of network a."""
    answer = hard_labels(scene.network_a(scene.image))
    return {
        "labeled": outlined(scene.image[0], scene.label[0], TRUE),
        "unlabeled": scan(scene.unlabeled[0]),
        "other": scan(scene.unlabeled[1]),
        "answer": outlined(scene.image[0], answer[0], ANSWER),
        "said": heat(foreground(scene.network_a(scene.unlabeled))[0]),
    }


@torch.no_grad()
def entropy_minimization(scene: Scene) -> Tiles:
    """The entropy by that of a guess."""
    log = scene.network_a(scene.unlabeled).log_softmax(1)
    return {"entropy": heat(voxel_entropy(log)[0] / np.log(2))}


@torch.no_grad()
def mean_teacher(scene: Scene) -> Tiles:
    """Noise, and what the teacher says; the teacher is network a."""
    method = MeanTeacher(scene.network_a, rampup_steps=0, teacher_noise=0.3)
    draws = method.draw(scene.batch, generator(1))
    noisy = add_noise(scene.unlabeled, draws.teacher, method.teacher_noise)
    return {"noisy": scan(noisy[0]), "target": heat(foreground(method.teacher(noisy))[0])}


@torch.no_grad()
def uncertainty_aware_mean_teacher(scene: Scene) -> Tiles:
    """The entropy of eight answers, and the voxels below the threshold of the start."""
    method = UncertaintyAwareMeanTeacher(scene.network_a, rampup_steps=0, noise=0.3)
    first, *repeated = zip(*method.draw(scene.batch, generator(1)).seeds, strict=True)
    noisy = method.noisy(scene.unlabeled, first)
    target = method.teacher(noisy)
    torch.manual_seed(0)
    with dropping_out(method.teacher.network):
        answers = [method.teacher(method.noisy(scene.unlabeled, seeds)) for seeds in repeated]
    doubt = voxel_entropy(mean_log_probability(answers)) / np.log(2)
    said = heat(foreground(target)[0])
    return {
        "noisy": scan(noisy[0]),
        "noisier": scan(method.noisy(scene.unlabeled, repeated[0])[0]),
        "target": said,
        "doubt": heat(doubt[0]),
        "certain": shaded(said, doubt[0] < method.start_threshold),
    }


@torch.no_grad()
def interpolation_consistency(scene: Scene) -> Tiles:
    """A blend with 0.4 of the other window."""
    shares, images = (0.4,), scene.unlabeled
    said = foreground(scene.network_b(images))
    blended = blend(images[:1], images[1:], shares)
    return {
        "blend": scan(blended[0]),
        "said": heat(foreground(scene.network_a(blended))[0]),
        "target_a": heat(said[0]),
        "target_b": heat(said[1]),
        "target": heat(blend(said[:1], said[1:], shares)[0]),
    }


@torch.no_grad()
def fixmatch(scene: Scene) -> Tiles:
    """A strong view with its box cut out, and the labels with the voxels that count."""
    method = FixMatch(scene.network_a, rampup_steps=0, cutout=1.0)
    strong = method.strong(scene.unlabeled, method.draw(scene.batch, generator(6)))
    label, sure = confident_labels(scene.network_a(scene.unlabeled), method.threshold)
    answer = hard_labels(scene.network_a(strong))
    return {
        "strong": scan(strong[0]),
        "said": outlined(strong[0], answer[0], ANSWER),
        "sure": outlined(scene.unlabeled[0], label[0], PSEUDO, sure[0]),
    }


@torch.no_grad()
def unimatch(scene: Scene) -> Tiles:
    """Two strong views with boxes, whose labels move with them; the teacher is network b."""
    method = UniMatch(scene.network_a, box_probability=1.0, feature_drop=1.0)
    draws = method.draw(scene.batch, generator(3))
    label, sure = confident_labels(scene.network_b(scene.unlabeled), method.threshold)
    tiles = {"sure": outlined(scene.unlabeled[0], label[0], PSEUDO, sure[0])}
    for number, view in enumerate(draws.views, 1):
        mixed, target, counts = method.strong(scene.unlabeled, label, sure, view, draws.partner)
        with method.channel_drop.of(view.channels):
            answer = hard_labels(scene.network_a(mixed))
        outside = outside_mask(view.boxes[0], mixed.shape[2:], mixed.device)
        tiles[f"strong_{number}"] = boxed(scan(mixed[0]), outside)
        tiles[f"said_{number}"] = outlined(mixed[0], answer[0], ANSWER)
        tiles[f"target_{number}"] = outlined(mixed[0], target[0], PSEUDO, counts[0])
    return tiles


def urpc(scene: Scene) -> Tiles:
    """The scales of a decoder whose heads learn for some steps on the labeled slices."""
    stages = {"decoder.up3": 32, "decoder.up2": 64, "decoder.up1": 128}
    torch.manual_seed(2)
    method = URPC(scene.network_a, classes=2, stages=stages, rampup_steps=0, head_dropout=0.0)
    optimizer = torch.optim.Adam(method.heads.parameters(), lr=1e-2)
    for step in range(12):
        optimizer.zero_grad()
        method(scene.batch, None, step).total.backward()
        optimizer.step()
    with torch.no_grad():
        scales = [foreground(z)[0] for z in method.pyramid(scene.unlabeled)]
    tiles = {f"scale_{k}": heat(scale) for k, scale in enumerate(scales)}
    return tiles | {"mean": heat(torch.stack(scales).mean(0))}


@torch.no_grad()
def mixmatch(scene: Scene) -> Tiles:
    """Turned views, their sharpened mean, and two blends with a third of the partner."""
    method = MixMatch(scene.network_a, rampup_steps=0)
    turns = list(zip(*method.draw(scene.batch, generator(4)).turns, strict=True))
    guess = sharpen(method.mean_prediction(scene.unlabeled, turns), method.temperature)
    first, second = (turn(scene.unlabeled, one) for one in turns[:2])
    labeled = blend(scene.image[:1], first[:1], (0.3,))
    unlabeled = blend(first[:1], scene.image[:1], (0.3,))
    return {
        "view_1": scan(first[0]),
        "view_2": scan(second[0]),
        "guess": heat(guess[0, 1]),
        "mixed_l": scan(labeled[0]),
        "mixed_u": scan(unlabeled[0]),
        "said_l": heat(foreground(scene.network_a(labeled))[0]),
        "said_u": heat(foreground(scene.network_a(unlabeled))[0]),
    }


@torch.no_grad()
def cross_pseudo_supervision(scene: Scene) -> Tiles:
    """The labels of both networks."""
    tiles = {}
    for name, network in (("a", scene.network_a), ("b", scene.network_b)):
        answer, said = hard_labels(network(scene.image)), hard_labels(network(scene.unlabeled))
        tiles[f"answer_{name}"] = outlined(scene.image[0], answer[0], ANSWER)
        tiles[f"said_{name}"] = outlined(scene.unlabeled[0], said[0], PSEUDO)
    return tiles


def deep_co_training(scene: Scene) -> Tiles:
    """A window changed by eight times the published step, so that it can be seen."""
    images = scene.unlabeled
    labels = hard_labels(scene.network_a(images).detach())
    deceiving = attack(scene.network_a, images, labels, 8 * 0.02)
    said = {
        "said_a": scene.network_a(images),
        "said_b": scene.network_b(images),
        "fooled": scene.network_b(deceiving),
    }
    tiles = {name: heat(foreground(logits)[0]) for name, logits in said.items()}
    return tiles | {"deceiving": scan(deceiving[0])}


@torch.no_grad()
def dual_mean_teacher(scene: Scene) -> Tiles:
    """Both teachers, which are networks a and b, and the voxels on which they agree."""
    pair = (scene.network_a, scene.network_b)
    method = DualMeanTeacher(*pair, warmup_steps=0, rampup_steps=0, sample_threshold=0.0)
    draws = method.draw(scene.batch, generator(2))
    images, answers = scene.unlabeled, [network(scene.unlabeled) for network in pair]
    target, counts, _ = method.consensus(answers)
    tiles = {"agreed": outlined(images[0], target[0], PSEUDO, counts[0])}
    for name, network, answer, view in zip("ab", pair, answers, draws.views, strict=True):
        strong = method.views.apply(images, view)
        tiles[f"strong_{name}"] = scan(strong[0])
        tiles[f"said_{name}"] = outlined(strong[0], hard_labels(network(strong))[0], ANSWER)
        tiles[f"label_{name}"] = outlined(images[0], hard_labels(answer)[0], PSEUDO)
    return tiles


@torch.no_grad()
def bcp(scene: Scene) -> Tiles:
    """Both mixes by one box, and their labels: green the true one, orange the teacher's."""
    method = BCP(scene.network_a, teacher_mode="eval", ema_buffers="average").eval()
    box = method.draw(scene.batch, generator(5))
    outside = outside_mask(box, scene.image.shape[2:], scene.image.device)
    # One window each, where the method takes a half of the batch.
    image, label, unlabeled = (v[:1] for v in (scene.image, scene.label, scene.unlabeled))
    pseudo = method.pseudo_labels(unlabeled, unlabeled)()[:1]
    mixes = {"in": mix(image, unlabeled, outside), "out": mix(unlabeled, image, outside)}
    tiles = {"pseudo": outlined(unlabeled[0], pseudo[0], PSEUDO)}
    for name, mixed in mixes.items():
        answer = hard_labels(scene.network_a(mixed))
        true_part = outside if name == "in" else ~outside
        tiles |= {
            f"{name}ward": boxed(scan(mixed[0]), outside),
            f"said_{name}": outlined(mixed[0], answer[0], ANSWER),
            f"target_{name}": both_labels(mixed[0], label[0], pseudo[0], true_part),
        }
    return tiles


def both_labels(image: Tensor, label: Tensor, pseudo: Tensor, true_part: Tensor) -> Pixels:
    """A slice with the border of the true label in its part, and of the teacher's in the rest.

    Args:
        image: (1, 48, 48).
        label: the true one, (48, 48).
        pseudo: the teacher's, (48, 48).
        true_part: True where the true label counts, (48, 48).
    """
    none = torch.zeros_like(label)
    target = outlined(image, mix(label, none, true_part), TRUE)
    of_teacher = outlined(image, mix(none, pseudo, true_part), PSEUDO)
    pixels: Pixels = np.where((of_teacher == PSEUDO).all(-1, keepdims=True), of_teacher, target)
    return pixels


def frequency_copy_paste(scene: Scene) -> Tiles:
    """Views pasted by one box; each student has learned labeled slices in its view for some steps."""
    method = FrequencyCopyPaste(scene.network_a)
    fixed = method.views.fixed(2, 2)
    box = method.draw(scene.batch, generator(103)).box
    outside = outside_mask(box, scene.image.shape[2:], scene.image.device)
    pseudo = method.pseudo_labels(scene.unlabeled)()[0]
    tiles = {"pseudo": outlined(scene.unlabeled[0], pseudo, PSEUDO)}
    of_labeled = method.views.apply(scene.image, fixed)
    of_unlabeled = method.views.apply(scene.unlabeled, fixed)
    parts = {"low": outside, "high": ~outside}  # where the labeled window is
    for (band, true_part), seen, other in zip(parts.items(), of_labeled, of_unlabeled, strict=True):
        student = trained(copy.deepcopy(scene.network_a), Sub(seen, scene.label, ("0", "1")), 40)
        pasted = mix(seen[:1], other[:1], true_part)
        tiles |= {
            f"{band}_l": scan(seen[0]),
            f"{band}_u": scan(other[0]),
            f"pasted_{band}": boxed(scan(pasted[0]), outside),
            f"said_{band}": heat(foreground(student(pasted))[0]),
            f"target_{band}": both_labels(pasted[0], scene.label[0], pseudo, true_part),
        }
    return tiles


MAKERS: Mapping[str, Callable[[Scene], Tiles]] = {
    "entropy_minimization": entropy_minimization,
    "mean_teacher": mean_teacher,
    "uncertainty_aware_mean_teacher": uncertainty_aware_mean_teacher,
    "interpolation_consistency": interpolation_consistency,
    "fixmatch": fixmatch,
    "unimatch": unimatch,
    "urpc": urpc,
    "mixmatch": mixmatch,
    "cross_pseudo_supervision": cross_pseudo_supervision,
    "deep_co_training": deep_co_training,
    "dual_mean_teacher": dual_mean_teacher,
    "bcp": bcp,
    "frequency_copy_paste": frequency_copy_paste,
}


def tiles_of(name: str, scene: Scene) -> Tiles:
    """All tiles of the picture of one method."""
    # URPC trains what it is given, and it and UniMatch listen to it.
    fresh = copy.deepcopy(scene)
    return common(fresh) | (MAKERS[name](fresh) if name in MAKERS else {})
