"""What every method refuses of its options, before a training begins."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
import torch

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.build import build_method, build_pretraining
from medsemi.methods.method import Method
from medsemi.methods.registry import METHODS
from medsemi.networks.unet2d import UNet2D
from medsemi.parts.intensity_views import IntensityViews
from medsemi.parts.teacher import BUFFER_RULES
from medsemi.parts.views import FrequencyViews


def build(name: str, norm: str = "batch", **options: Any) -> Method:
    torch.manual_seed(0)
    network = UNet2D(out_channels=2, filters=2, norm=norm)
    return build_method(name, network, steps=9, classes=2, window=(32, 32), options=options)


def taking(option: str) -> list[str]:
    """The methods that take an option."""
    found = []
    for entry in METHODS:
        module, _, kind = entry.target.rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
        found += [entry.name] if option in parameters else []
    assert found
    return found


# The teacher of BCP labels in train mode, which moves its own statistics.
@pytest.mark.parametrize("name", [n for n in taking("ema_buffers") if n != "bcp"])
def test_statistics_that_would_never_move_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="give ema_buffers average or copy"):
        build(name, ema_buffers="keep")
    build(name, norm="instance", ema_buffers="keep")


WRONG = {
    "ema_buffers": ["avg", "none"],
    "ema_decay": [2.0, -0.1, "slow"],
    "deploy": ["techer", "students_"],
    "threshold": [95, -0.1],
    "connectivity": [6, 18, 0, -1],
    "rampup_steps": [-1],
    "warmup_steps": [-1],
    "start_step": [-1],
    "pseudo_weight": [-0.5],
    "consistency_weight": [-0.1],
    "cross_weight": [-1.0],
    "entropy_weight": [-1.0],
    "agreement_weight": [-1.0],
    "difference_weight": [-1.0],
    "unlabeled_weight": [-1.0],
    "anchor_weight": [-1.0],
    "full_weight": [-1.0],
    "mix_weight": [-1.0],
    "conflict_weight": [-1.0, 2.0],
    "cldice_weight": [0.6],
    "dice_weight": [2, -1],
    "hole_ratio": [1.5],
    "low_share": [2.0, -1.0],
    "confidence": [60],
    "sample_threshold": [50],
    "start_threshold": [1.5],
    "box_probability": [2.0],
    "feature_drop": [2.0],
    "cutout": [2.0],
    "head_dropout": [2],
    "teacher_mode": ["trian", "evaluate"],
    "student_passes": [3, 0],
    "teacher_passes": [3, 0],
    "teacher_rule": ["lowest"],
    "noise": [-0.1],
    "teacher_noise": [-0.1],
    "epsilon": [-0.1],
    "repeats": [0],
    "guesses": [0],
    "history": [0],
    "temperature": [0.0, -1.0],
    "alpha": [0.0],
}


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(n, option, v) for option, values in WRONG.items() for n in taking(option) for v in values],
)
def test_a_value_that_makes_no_sense_is_told_in_words(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} is .*; (give|take|it must be) "):
        build(name, norm="instance", **{option: value})


@pytest.mark.parametrize("rule", BUFFER_RULES)
@pytest.mark.parametrize("name", taking("ema_buffers"))
def test_every_rule_of_buffers_is_taken_without_batch_norm(name: str, rule: str) -> None:
    assert build(name, norm="instance", ema_buffers=rule).inference_network is not None


@pytest.mark.parametrize("name", taking("deploy"))
def test_the_choices_that_an_error_names_are_networks_of_the_method(name: str) -> None:
    with pytest.raises(ConfigError, match="deploy is 'none'; take ") as error:
        build(name, deploy="none")
    told = str(error.value).partition("take ")[2].strip(".").split(" or ")
    for choice in told:
        method = build(name, deploy=choice)
        assert method.inference_network is method.networks[choice]


def test_the_numbers_of_classes_must_agree() -> None:
    method = build("mixmatch", alignment=1.0, classes=5)
    image = torch.rand(2, 1, 32, 32)
    windows = Batch(
        Sub(image, (image[:, 0] > 0.5).to(torch.uint8), ("a", "b")), Sub(image, None, ("c", "d"))
    )
    with pytest.raises(ConfigError, match="classes is 5, and the network tells 2"):
        method(windows, method.draw(windows, torch.Generator()), 0)


def test_the_loss_of_the_pretraining_is_a_known_one() -> None:
    with pytest.raises(ConfigError, match="loss is 'region'; take mixed, regions or None"):
        build_pretraining("bcp", UNet2D(filters=2), options={"loss": "region"})


@pytest.mark.parametrize("dropout", [3, -1])
def test_a_dropout_beyond_certainty_is_told_in_words(dropout: float) -> None:
    with pytest.raises(ConfigError, match=r"dropout is .*; give 0 to 2"):
        UNet2D(filters=2, dropout=dropout)


def test_views_are_ranges_that_can_be_applied() -> None:
    with pytest.raises(ConfigError, match=r"gamma is .*; give two numbers"):
        IntensityViews(gamma=(-2.0, -1.0))
    with pytest.raises(ConfigError, match=r"blur is .*; give two numbers"):
        IntensityViews(blur=(2.0, 0.1))
    with pytest.raises(ConfigError, match="jitter is 8; give 0 to 1"):
        IntensityViews(jitter=8)
    with pytest.raises(ConfigError, match=r"alpha_range is .*; give two numbers"):
        FrequencyViews(alpha_range=[0.4])
