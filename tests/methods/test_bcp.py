"""Bidirectional copy-paste, as the paper and its code state it."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.bcp import BCP, CopyPastePretraining, halves
from medsemi.parts.copy_paste import Box, outside_mask
from medsemi.parts.losses import linear_dice, region_losses

IDS = ("a", "b", "c", "d")
BOX = Box((1, 1, 1), (4, 4, 4))
OUTSIDE = outside_mask(BOX, (6, 6, 6), torch.device("cpu"))


class Spy(nn.Module):
    """Remembers what it was shown; its logits say that bright voxels are foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return torch.cat([-x, x], 1) * self.scale


def batch() -> Batch:
    """Every window is constant, so that a voxel tells where it comes from: 1..4 and 5..8."""
    labeled = torch.arange(1.0, 5.0).view(4, 1, 1, 1, 1).expand(4, 1, 6, 6, 6).clone()
    label = torch.zeros(4, 6, 6, 6, dtype=torch.uint8)
    return Batch(Sub(labeled, label, IDS), Sub(labeled + 4, None, IDS))


def random_batch() -> Batch:
    """Every voxel and every label is another one, so that nothing can be taken for something else."""
    generator = torch.Generator().manual_seed(7)
    image, other = (torch.randn(4, 1, 6, 6, 6, generator=generator) for _ in range(2))
    label = torch.randint(2, (4, 6, 6, 6), generator=generator).to(torch.uint8)
    return Batch(Sub(image, label, IDS), Sub(other, None, IDS))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))


def test_the_defaults_are_the_published_choices() -> None:
    defaults = {k: p.default for k, p in inspect.signature(BCP).parameters.items()}
    assert defaults["hole_ratio"] == 2 / 3
    assert (defaults["pseudo_weight"], defaults["ema_decay"]) == (0.5, 0.99)
    assert (defaults["teacher_mode"], defaults["ema_buffers"]) == ("train", "keep")
    assert (defaults["component_filter"], defaults["connectivity"]) == (True, None)
    assert (defaults["dice"], defaults["deploy"]) == ("linear", "student")
    assert (defaults["student_passes"], defaults["teacher_passes"]) == (2, 2)


def test_the_student_sees_both_mixes_voxel_by_voxel() -> None:
    method = BCP(Spy())
    method(batch(), BOX, 0)
    inward, outward = method.student.seen
    hole = (slice(None), slice(None), *[slice(1, 5)] * 3)
    assert inward[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert inward[hole].flatten(1).unique(dim=1).flatten().tolist() == [5, 6]
    assert outward[:, 0, 0, 0, 0].tolist() == [7, 8]
    assert outward[hole].flatten(1).unique(dim=1).flatten().tolist() == [3, 4]
    assert (inward == torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1)).sum() == 2 * (6**3 - 4**3)
    first, second = method.teacher.seen
    assert (first[:, 0, 0, 0, 0].tolist(), second[:, 0, 0, 0, 0].tolist()) == ([5, 6], [7, 8])


def test_pseudo_labels_weigh_half_of_true_ones() -> None:
    terms = BCP(Spy(), pseudo_weight=0.5)(batch(), BOX, 0)
    assert {w for n, w in terms.weights.items() if n.endswith("pseudo")} == {0.25}
    assert {w for n, w in terms.weights.items() if n.endswith("labeled")} == {0.5}
    assert len(terms.terms) == 8


def test_each_mix_learns_its_own_labels_in_its_own_regions() -> None:
    """The terms by their formulas; a student that has moved tells its labels from the teacher's."""
    method, given = BCP(network(), component_filter=False, pseudo_weight=0.4), random_batch()
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(0.1)
    labeled = given.labeled.image, given.labeled.label
    pseudo = method.teacher(given.unlabeled.image).argmax(1).to(torch.uint8)
    unlabeled = given.unlabeled.image, pseudo
    found = method(given, BOX, 0)
    for way, half, around, box, regions in (
        ("inward", slice(0, 2), labeled, unlabeled, {"labeled": OUTSIDE, "pseudo": ~OUTSIDE}),
        ("outward", slice(2, 4), unlabeled, labeled, {"labeled": ~OUTSIDE, "pseudo": OUTSIDE}),
    ):
        shown, target = (
            torch.where(OUTSIDE, one[half], other[half])
            for one, other in zip(around, box, strict=True)
        )
        terms = region_losses(method.student(shown), target, regions, linear_dice)
        assert len(terms) == 4
        for name, term in terms.items():
            torch.testing.assert_close(found.terms[f"{way}_{name}"], term)
            assert found.weights[f"{way}_{name}"] == (0.2 if name.endswith("pseudo") else 0.5)


def test_true_labels_are_those_of_the_voxels_that_are_shown() -> None:
    """A perfect student on labels that follow brightness has no loss on any labeled voxel."""
    given = batch()
    label = torch.ones_like(given.labeled.label)
    method = BCP(Spy(), component_filter=False)
    with torch.no_grad():
        method.student.scale.fill_(20.0)
    given = Batch(Sub(given.labeled.image, label, IDS), given.unlabeled)
    terms = method(given, BOX, 0).terms
    assert terms["inward_ce_labeled"] < 1e-4
    assert terms["outward_ce_labeled"] < 1e-4
    # The teacher calls bright voxels foreground too, so that its labels agree.
    assert terms["inward_ce_pseudo"] < 1e-4


def test_the_filter_keeps_one_component() -> None:
    image = torch.full((2, 1, 6, 6, 6), -1.0)
    image[:, :, :3, :3, :3] = 1.0
    image[:, :, 5, 5, 5] = 1.0
    kept = BCP(Spy()).pseudo_labels(image)()
    assert kept[:, 5, 5, 5].sum() == 0
    assert kept.sum() == 2 * 27
    assert BCP(Spy(), component_filter=False).pseudo_labels(image)().sum() == 2 * 28


@pytest.mark.parametrize("norm", [nn.BatchNorm3d, nn.InstanceNorm3d])
def test_passes_matter_to_batch_norm_alone(norm: type[nn.Module]) -> None:
    given, losses = random_batch(), []
    for passes in (1, 2):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), norm(3), nn.Conv3d(3, 2, 1))
        method = BCP(network, student_passes=passes, teacher_passes=passes)
        losses.append(method.train()(given, BOX, 0).total.item())
    assert (losses[0] == pytest.approx(losses[1], rel=1e-5)) is (norm is nn.InstanceNorm3d)


def test_modes_of_the_teacher() -> None:
    assert BCP(Spy()).train().teacher.training
    held = BCP(Spy(), teacher_mode="eval").train()
    assert held.student.training
    assert not held.teacher.training
    assert not BCP(Spy()).eval().teacher.training


@pytest.mark.parametrize(("rule", "expected"), [("keep", 0.0), ("average", 0.1), ("copy", 1.0)])
def test_statistics_of_the_teacher_follow_their_rule(rule: str, expected: float) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    method = BCP(network, ema_buffers=rule, ema_decay=0.9)
    method.student[1].running_mean += 1.0
    method.after_step(0)
    assert method.teacher[1].running_mean.tolist() == pytest.approx([expected] * 2)


def test_deploy_names_the_network() -> None:
    assert (method := BCP(Spy())).inference_network is method.student
    assert (method := BCP(Spy(), deploy="teacher")).inference_network is method.teacher


def test_pretraining_mixes_the_labeled_halves() -> None:
    method = CopyPastePretraining(Spy())
    terms = method(batch(), BOX, 0)
    (seen,) = method.student.seen
    assert seen[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert seen[:, 0, 2, 2, 2].tolist() == [3, 4]
    assert set(terms.terms) == {"dice_mixed", "ce_mixed"}
    regions = CopyPastePretraining(Spy(), loss="regions")(batch(), BOX, 0)
    assert set(regions.terms) == {"dice_outside", "ce_outside", "dice_inside", "ce_inside"}


@pytest.mark.parametrize(
    ("loss", "regions"),
    [
        ("mixed", {"mixed": torch.ones_like(OUTSIDE)}),
        ("regions", {"outside": OUTSIDE, "inside": ~OUTSIDE}),
    ],
)
def test_pretraining_learns_the_label_of_each_voxel_that_is_shown(
    loss: str, regions: dict[str, Tensor]
) -> None:
    method, given = CopyPastePretraining(network(), loss=loss), random_batch()
    shown, target = (
        torch.where(OUTSIDE, whole[:2], whole[2:])
        for whole in (given.labeled.image, given.labeled.label)
    )
    expected = region_losses(method.student(shown), target, regions, linear_dice)
    found = method(given, BOX, 0)
    torch.testing.assert_close(found.terms, expected)
    assert found.weights == dict.fromkeys(expected, 0.5)


def test_pretraining_learns_slices_and_volumes_as_the_published_scripts_do() -> None:
    def terms(axes: int) -> set[str]:
        space = (6,) * axes
        image = torch.rand(4, 1, *space)
        labeled = Sub(image, torch.zeros(4, *space, dtype=torch.uint8), IDS)
        nothing = Sub(image[:0], None, ())
        box = Box((1,) * axes, (4,) * axes)
        return set(CopyPastePretraining(Spy())(Batch(labeled, nothing), box, 0).terms)

    assert terms(2) == {"dice_outside", "ce_outside", "dice_inside", "ce_inside"}
    assert terms(3) == {"dice_mixed", "ce_mixed"}


@pytest.mark.parametrize(("size", "expected"), [(1, ([0], [0])), (3, ([0, 1], [1, 2]))])
def test_halves_are_of_equal_size(size: int, expected: tuple[list[int], list[int]]) -> None:
    first, second = halves(torch.arange(size))
    assert (first.tolist(), second.tolist()) == expected


@pytest.mark.parametrize("count", [2, 3])
def test_unequal_halves_are_refused(count: int) -> None:
    """Broadcasting would pair one unlabeled window with several labeled ones, without a word."""
    given = batch()
    fewer = Sub(given.unlabeled.image[: count - 1], None, IDS[: count - 1])
    with pytest.raises(ConfigError, match="labeled_windows"):
        BCP(Spy()).draw(Batch(given.labeled, fewer), torch.Generator())


def test_a_teacher_whose_statistics_would_never_move_is_refused() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    with pytest.raises(ConfigError, match="give ema_buffers average"):
        BCP(network, teacher_mode="eval")
    BCP(network, teacher_mode="eval", ema_buffers="average")
