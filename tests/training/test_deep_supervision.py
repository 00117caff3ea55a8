"""Deep supervision under every method: the loss at each scale, no second pass, nothing deployed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.nn import functional

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.build import build_method
from medsemi.methods.cross_pseudo_supervision import CrossPseudoSupervision
from medsemi.methods.method import Method
from medsemi.methods.registry import METHODS, MethodEntry
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.parts import components
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.parts.intensity_views import IntensityViews
from medsemi.parts.losses import labeled_losses
from medsemi.parts.ucf_mix import UCFMix
from medsemi.training.deep_supervision import DeepSupervision
from medsemi.training.optimizers import build_optimizer
from medsemi.training.student_views import run_by_methods
from medsemi.training.trainer import SemiSupervisedTrainer

each_method = pytest.mark.parametrize("entry", METHODS, ids=lambda entry: entry.name)
OWN_HEADS = {"urpc"}


class Slices:
    """A stream of random slices, pure in the step."""

    seed, rank, world_size = 3, 0, 1
    case_ids: ClassVar = {"labeled": ["a"], "unlabeled": ["b"]}

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(2, 1, 32, 32, generator=generator)
        label = (image[:, 0] > 0.5).to(torch.uint8)
        other = torch.rand(2, 1, 32, 32, generator=generator)
        return Batch(Sub(image, label, ("a", "b")), Sub(other, None, ("c", "d")))


def method_of(name: str) -> Method:
    torch.manual_seed(0)
    network = UNet2D(out_channels=2, filters=2)
    return build_method(name, network, steps=3, classes=2, window=(32, 32))


def trainer_of(entry: MethodEntry, folder: Path, *handlers: object, **options: object):
    method = method_of(entry.name)
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = build_optimizer("adamw", learned, rate=0.01, momentum=0.9, weight_decay=0.01)
    return SemiSupervisedTrainer(
        device="cpu", method=method, optimizer=optimizer, stream=Slices(), steps=3,
        output_dir=folder, settings={}, checkpoint_interval=1, handlers=handlers,
        intensity=IntensityAugmentation(1.0), **{"gradient_clip": 12, **options},
    )  # fmt: skip


def exported(folder: Path) -> dict[str, dict[str, Tensor]]:
    paths = [path for path in folder.glob("*.pt") if path.name != "last.pt"]
    return {path.name: torch.load(path, weights_only=True) for path in paths}


@each_method
def test_every_method_trains_with_it_and_continues(
    entry: MethodEntry, tmp_path: Path, stop_at: Callable[[int], object]
) -> None:
    whole = trainer_of(entry, tmp_path / "whole", deep_supervision=0.5)
    whole.run()
    assert (whole.scales is None) == (entry.name in OWN_HEADS)
    with pytest.raises(OSError, match="no space left"):
        trainer_of(entry, tmp_path / "parts", stop_at(2), deep_supervision=0.5).run()
    trainer_of(entry, tmp_path / "parts", deep_supervision=0.5).run()
    one, again = exported(tmp_path / "whole"), exported(tmp_path / "parts")
    for name, weights in one.items():
        assert all(torch.equal(value, again[name][key]) for key, value in weights.items())
        assert all(value.isfinite().all() for value in weights.values())


def test_clipping_bounds_the_gradients_of_the_heads_too(tmp_path: Path) -> None:
    run = trainer_of(METHODS[0], tmp_path, deep_supervision=0.5, gradient_clip=1e-3)
    run.run()
    heads = list(run.scales.heads.parameters())
    assert all(p.grad.any() for p in heads)
    gradients = [p.grad.flatten() for p in (*run.method.parameters(), *heads)]
    assert 0 < torch.cat(gradients).norm() <= 1e-3 * 1.01


@each_method
def test_what_is_exported_has_no_heads(entry: MethodEntry, tmp_path: Path) -> None:
    trainer_of(entry, tmp_path / "plain").run()
    trainer_of(entry, tmp_path / "deep", deep_supervision=0.5).run()
    plain, deep = exported(tmp_path / "plain"), exported(tmp_path / "deep")
    assert {name: list(w) for name, w in plain.items()} == {n: list(w) for n, w in deep.items()}
    changed = any(not v.equal(plain["model.pt"][k]) for k, v in deep["model.pt"].items())
    assert changed == (entry.name not in OWN_HEADS)


@each_method
def test_no_network_learns_or_labels_twice(entry: MethodEntry) -> None:
    method = method_of(entry.name)
    if method.has_coarse_heads:
        pytest.skip("has heads of its own")
    passes: Counter[str] = Counter()

    for name, network in method.networks.items():
        inner = dict(run_by_methods(network).named_children()).get("encoder")
        if inner is not None:
            inner.register_forward_hook(lambda *_, name=name: passes.update([name]))
    batch = Slices()[0]
    method.train()
    draws = method.draw(batch, torch.Generator().manual_seed(0))
    # A method may label in the first pass of its life what it does not later.
    for _ in range(2):
        passes.clear()
        method(batch, draws, 2)
    plain = dict(passes)
    passes.clear()
    DeepSupervision(method, 0.5, seed=0)(batch, draws, 2)
    assert plain
    assert dict(passes) == plain


@pytest.mark.parametrize(
    ("name", "owner", "function"),
    [
        ("bcp", components, "largest_component"),
        ("frequency_copy_paste", components, "largest_component"),
        ("fixmatch", IntensityViews, "apply"),
        ("unimatch", IntensityViews, "apply"),
        ("dual_mean_teacher", IntensityViews, "apply"),
    ],
)
def test_what_is_the_same_at_every_scale_is_made_once(
    name: str, owner: object, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], getattr(owner, function)
    monkeypatch.setattr(owner, function, lambda *args: made.append(1) or real(*args))

    def step(method: Method, scales: bool) -> tuple[int, dict[str, float]]:
        made.clear()
        losses = DeepSupervision(method, 0.5, seed=0) if scales else method
        draws = method.draw(Slices()[0], torch.Generator().manual_seed(0))
        torch.manual_seed(0)  # of dropout
        found = losses.train()(Slices()[0], draws, 2)
        return len(made), {name: term.item() for name, term in found.terms.items()}

    count, terms = step(method_of(name), scales=True)
    assert count == step(method_of(name), scales=False)[0] > 0
    computed = method_of(name)
    computed.same_at_every_scale = ()
    assert step(computed, scales=True) == (4 * count, terms)


@pytest.mark.parametrize(
    "build", [lambda: UNet2D(out_channels=3, filters=2), lambda: VNet(out_channels=3, filters=2)]
)
def test_a_scale_is_the_loss_of_the_enlarged_logits_of_its_head(build) -> None:
    torch.manual_seed(0)
    network = build()
    axes = max(p.ndim for p in network.parameters()) - 2
    method = build_method("supervised", network, steps=1, classes=3)
    image = torch.rand(2, 1, *[32 if axes == 2 else 16] * axes)
    label = (3 * image[:, 0]).to(torch.uint8)
    batch = Batch(Sub(image, label, ("a", "b")), None)
    deep = DeepSupervision(method.eval(), 0.5, seed=0)
    method.train()
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Dropout3d)):
            module.p = 0.0
    features = {}
    for name in deep.recalled[0].stages:
        network.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: features.update({name: o})
        )
    found = deep(batch, None, 0)
    assert list(found.terms)[-3:] == ["scale_1", "scale_2", "scale_3"]
    sizes = []
    for number, (name, head) in enumerate(
        zip(deep.recalled[0].stages, deep.heads[0], strict=True), 1
    ):
        sizes.append(features[name].shape[-1])
        logits = functional.interpolate(
            head(features[name]), image.shape[2:], mode={2: "bilinear", 3: "trilinear"}[axes]
        )
        expected = sum(labeled_losses(logits, label, method.dice).values()) / 2
        torch.testing.assert_close(found.terms[f"scale_{number}"], expected)
    assert sizes == sorted(sizes, reverse=True), "the finest is the first"
    weights = [found.weights[f"scale_{number}"] for number in (1, 2, 3)]
    assert weights == pytest.approx([4 / 15, 2 / 15, 1 / 15])
    plain = method(batch, None, 0).total
    coarse = sum(w * found.terms[f"scale_{n}"] for n, w in enumerate(weights, 1))
    torch.testing.assert_close(found.total, 8 / 15 * plain + coarse)
    found.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in deep.heads.parameters())


def test_networks_of_different_depth_share_their_finest_scales() -> None:
    """A head that gets no gradient lets processes that share a training wait for each other."""
    torch.manual_seed(0)
    settings = {"strides": [1, 2, 2, 2], "kernel_size": [3] * 4, "upsample_kernel_size": [2] * 3}
    planned = DynUNet(2, 1, 2, **settings, filters=[2, 4, 4, 4], norm_name="instance")
    method = CrossPseudoSupervision(UNet2D(out_channels=2, filters=2), planned, rampup_steps=0)
    deep = DeepSupervision(method, 0.5, seed=0).train()
    found = deep(Slices()[0], None, 0)
    assert [n for n in found.terms if n.startswith("scale")] == ["scale_1", "scale_2"]
    found.total.backward()
    assert all(p.grad is not None and p.grad.any() for p in deep.heads.parameters())
    assert [len(heads) for heads in deep.heads] == [2, 2]


def test_the_heads_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    methods = [build_method("supervised", UNet2D(filters=2), steps=1, classes=4) for _ in range(3)]
    torch.random.set_rng_state(before)
    first, again, other = (
        DeepSupervision(m, 0.5, s) for m, s in zip(methods, (1, 1, 2), strict=True)
    )
    assert torch.random.get_rng_state().equal(before)
    weights = [deep.heads[0][0].weight for deep in (first, again, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_a_failed_step_leaves_nothing_behind() -> None:
    method = method_of("supervised")
    deep = DeepSupervision(method, 0.5, seed=0)
    with pytest.raises(AttributeError):
        deep(None, None, 0)
    assert method.student(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("share", [-0.5, 1.5])
def test_a_wrong_share_is_told_in_words(share: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="deep_supervision is"):
        trainer_of(METHODS[0], tmp_path, deep_supervision=share)


def test_a_network_of_unknown_stages_is_told_in_words() -> None:
    method = build_method("supervised", nn.Conv2d(1, 2, 1), steps=1, classes=2)
    with pytest.raises(ConfigError, match=r"deep_supervision: .* Conv2d are not known"):
        DeepSupervision(method, 0.5, seed=0)


def test_labels_that_move_with_what_a_network_says_are_refused() -> None:
    def displacing(**options: float) -> Method:
        given = {"mix": UCFMix(mode="displaced", blocks=4), **options}
        network = UNet2D(out_channels=2, filters=4)
        return build_method("cfcnet", network, steps=9, classes=2, options=given)

    for options in ({}, {"mix_weight": 0.0, "mix_labeled": 0.5}):
        with pytest.raises(ConfigError, match=r"deep_supervision does not go with .* 'displaced'"):
            DeepSupervision(displacing(**options), 0.5, 0)
    assert DeepSupervision(displacing(mix_weight=0.0), 0.5, 0).scales == 3
