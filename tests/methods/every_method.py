"""Every method with the settings that have a path of their own, a network for it, and a batch.

The tests of the contract, on the CPU and on a GPU, go over all that stand here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.methods.bcp import BCP, CopyPastePretraining
from medsemi.methods.cfcnet import CFCNet, RandomViewPretraining
from medsemi.methods.cross_pseudo_supervision import CrossPseudoSupervision
from medsemi.methods.deep_co_training import DeepCoTraining
from medsemi.methods.dual_mean_teacher import DualMeanTeacher
from medsemi.methods.entropy_minimization import EntropyMinimization
from medsemi.methods.fixmatch import FixMatch
from medsemi.methods.frequency_copy_paste import FrequencyCopyPaste
from medsemi.methods.interpolation_consistency import InterpolationConsistency
from medsemi.methods.mean_teacher import MeanTeacher
from medsemi.methods.method import Method
from medsemi.methods.mixmatch import MixMatch
from medsemi.methods.supervised import Supervised
from medsemi.methods.uncertainty_aware_mean_teacher import UncertaintyAwareMeanTeacher
from medsemi.methods.unimatch import UniMatch
from medsemi.methods.urpc import URPC
from medsemi.parts.intensity_views import IntensityViews
from medsemi.parts.ucf_mix import UCFMix
from medsemi.parts.views import FrequencyViews


def another(network: nn.Module) -> nn.Module:
    """A network of other weights, whose last layer names its classes in the same order."""
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data += 0.5 * torch.sin(20 * parameter.data)
    return other


def classes_of(network: nn.Module) -> int:
    return network[-1].out_channels


METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "supervised": Supervised,
    "supervised squared": lambda network: Supervised(network, dice="squared"),
    "pretraining mixed": lambda network: CopyPastePretraining(network, loss="mixed"),
    "pretraining regions": lambda network: CopyPastePretraining(network, loss="regions"),
    "bcp": BCP,
    "bcp cardiac": lambda network: BCP(network, dice="squared", ema_buffers="average"),
    "bcp one pass": lambda network: BCP(
        network, student_passes=1, teacher_passes=1, teacher_mode="eval", component_filter=False
    ),
    "random views": RandomViewPretraining,
    "cfcnet": lambda network: CFCNet(network, mix=UCFMix(blocks=2), rampup_steps=12_000),
    "cfcnet canals": lambda network: CFCNet(
        network,
        views=FrequencyViews(levels_high=2, moving_blocks=True),
        mix=UCFMix("fill", blocks=2),
        teacher_rule="two",
        rampup_steps=0,
    ),
    "cfcnet random": lambda network: CFCNet(
        network,
        views=FrequencyViews("fft"),
        mix=UCFMix("random", blocks=2, share=0.25),
        teacher_rule="alternate",
        rampup_steps=0,
        full_view_supervision=0.5,
    ),
    "cfcnet displaced": lambda network: CFCNet(
        network,
        views=FrequencyViews("gaussian"),
        mix=UCFMix("displaced", blocks=2, share=0.25),
        teacher_rule="low",
        rampup_steps=0,
        confidence=0.5,
    ),
    "cfcnet options": lambda network: CFCNet(
        network,
        mix=UCFMix("random", blocks=2),
        rampup_steps=0,
        soft_targets=True,
        mix_labeled=0.5,
        cldice_weight=0.3,
    ),
    "frequency copy-paste": FrequencyCopyPaste,
    "frequency copy-paste canals": lambda network: FrequencyCopyPaste(
        network,
        views=FrequencyViews(levels_high=2, moving_blocks=True),
        component_filter=False,
        dice="squared",
    ),
    "mean teacher": lambda network: MeanTeacher(network, rampup_steps=0),
    "mean teacher symmetric": lambda network: MeanTeacher(
        network,
        rampup_steps=0,
        student_noise=0.1,
        consistency="symmetric_cross_entropy",
        deploy="student",
    ),
    "uncertainty-aware mean teacher": lambda network: UncertaintyAwareMeanTeacher(
        network, rampup_steps=0, repeats=2
    ),
    "interpolation consistency": lambda network: InterpolationConsistency(network, rampup_steps=0),
    "entropy minimization": lambda network: EntropyMinimization(network, rampup_steps=0),
    "fixmatch": lambda network: FixMatch(network, rampup_steps=0, threshold=0.4),
    "fixmatch turned": lambda network: FixMatch(
        network, rampup_steps=0, threshold=0.4, dice_weight=0.5, turns=True
    ),
    "cross pseudo supervision": lambda network: CrossPseudoSupervision(
        network, another(network), rampup_steps=0
    ),
    "cross pseudo supervision mixed": lambda network: CrossPseudoSupervision(
        network,
        another(network),
        rampup_steps=0,
        labeled_share=1.0,
        box_probability=1.0,
        deploy="both",
    ),
    "unimatch": lambda network: UniMatch(network, threshold=0.4, features="2"),
    "dual mean teacher": lambda network: DualMeanTeacher(
        network,
        another(network),
        warmup_steps=0,
        rampup_steps=0,
        threshold=0.4,
        sample_threshold=0.0,
    ),
    "dual mean teacher conflicts": lambda network: DualMeanTeacher(
        network,
        another(network),
        warmup_steps=0,
        rampup_steps=0,
        threshold=0.4,
        sample_threshold=0.1,
        conflict_weight=0.5,
        deploy="teacher_a",
    ),
    "mixmatch": lambda network: MixMatch(network, rampup_steps=0),
    "remixmatch": lambda network: MixMatch(
        network,
        rampup_steps=0,
        unlabeled_weight=1.5,
        views=IntensityViews(),
        anchor_weight=0.5,
        alignment=1.0,
        classes=classes_of(network),
        deploy="student",
    ),
    "frequency copy-paste students": lambda network: FrequencyCopyPaste(network, deploy="students"),
    "deep co-training": lambda network: DeepCoTraining(network, another(network), rampup_steps=0),
    "urpc": lambda network: URPC(
        network, classes=classes_of(network), stages={"2": 4}, rampup_steps=0, head_dropout=0.0
    ),
}
SUPERVISED_ALONE = {
    "supervised",
    "supervised squared",
    "pretraining mixed",
    "pretraining regions",
} | {"random views"}


def network_of(axes: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[axes]
    torch.manual_seed(0)
    layers = [conv(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, conv(4, classes, 1))


def batch_of(axes: int, classes: int, size: int = 4, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (size, 1, *(12, 10, 8)[:axes])
    image = torch.randn(shape, generator=generator)
    label = torch.randint(classes, (size, *shape[2:]), generator=generator).to(torch.uint8)
    other = torch.randn(shape, generator=generator)
    ids = tuple(str(i) for i in range(size))
    return Batch(Sub(image, label, ids), Sub(other, None, ids))
