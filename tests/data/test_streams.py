"""The batch of a step is a pure function of the step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medsemi.batch import Batch
from medsemi.data.streams import StepStream, batch_cases, step_loader
from medsemi.data.volumes import Volume
from medsemi.errors import ConfigError


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[Volume]:
    folder = tmp_path_factory.mktemp("volumes")
    made = []
    for index in range(7):
        random = np.random.default_rng(index)
        np.save(folder / f"{index}.npy", random.random((1, 12, 11, 10), np.float32))
        np.save(folder / f"{index}l.npy", random.integers(0, 2, (12, 11, 10), np.uint8))
        label = folder / f"{index}l.npy" if index < 3 else None
        made.append(Volume(str(index), folder / f"{index}.npy", label, np.eye(4)))
    return made


def stream(volumes: list[Volume], **options: object) -> StepStream:
    settings = {"window": (8, 8, 8), "labeled_windows": 2, "unlabeled_windows": 3, "seed": 4}
    return StepStream(volumes[:3], volumes[3:], **{**settings, **options})


def equal(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.labeled.image, other.labeled.image)
        and torch.equal(one.labeled.label, other.labeled.label)
        and torch.equal(one.unlabeled.image, other.unlabeled.image)
        and one.labeled.case_ids == other.labeled.case_ids
        and one.unlabeled.case_ids == other.unlabeled.case_ids
    )


def test_a_step_is_the_same_in_any_order_and_any_process(volumes: list[Volume]) -> None:
    expected = {step: stream(volumes)[step] for step in (9, 3, 7, 8)}
    for workers in (0, 2):
        loader = step_loader(stream(volumes), 7, 10, workers)
        for step, batch in zip(range(7, 10), loader, strict=True):
            assert equal(batch, expected[step])


@pytest.mark.parametrize("change", [{"seed": 5}, {"rank": 1, "world_size": 2}])
def test_seed_and_rank_change_the_batch(volumes: list[Volume], change: dict) -> None:
    assert not equal(stream(volumes)[0], stream(volumes, **change)[0])
    assert not equal(stream(volumes)[0], stream(volumes)[1])


def test_two_ranks_have_together_what_one_process_has_in_twice_the_steps(
    volumes: list[Volume],
) -> None:
    alone = stream(volumes, labeled_windows=1)
    ranks = [stream(volumes, labeled_windows=1, rank=n, world_size=2) for n in (0, 1)]
    for step in range(6):
        batch, expected = ranks[step % 2][step // 2], alone[step]
        assert batch.labeled.case_ids == expected.labeled.case_ids
        assert batch.unlabeled.case_ids == expected.unlabeled.case_ids


def test_two_ranks_cut_different_windows_of_one_case(volumes: list[Volume]) -> None:
    settings = {"window": (8, 8, 8), "labeled_windows": 1, "unlabeled_windows": 1, "seed": 4}
    one, other = (
        StepStream(volumes[:1], volumes[3:4], rank=n, world_size=2, **settings)[0] for n in (0, 1)
    )
    assert not torch.equal(one.labeled.image, other.labeled.image)
    assert not torch.equal(one.unlabeled.image, other.unlabeled.image)


def test_shapes_and_roles(volumes: list[Volume]) -> None:
    batch = stream(volumes)[0]
    assert batch.labeled.image.shape == (2, 1, 8, 8, 8)
    assert batch.labeled.label.shape == (2, 8, 8, 8)
    assert batch.labeled.label.dtype == torch.uint8
    assert batch.unlabeled.label is None
    assert set(batch.labeled.case_ids) <= {"0", "1", "2"}
    assert set(batch.unlabeled.case_ids) <= {"3", "4", "5", "6"}
    assert stream(volumes, unlabeled_windows=0)[0].unlabeled is None


@pytest.mark.parametrize("setting", ["la8", "la4", "acdc7"])
def test_batches_are_composed_as_published(golden: Path, setting: str) -> None:
    """The published sampler with its own permutations, which come from a legacy generator."""
    stored = json.loads((golden / "two_stream_sampler.json").read_text())
    case = stored["settings"][setting]
    legacy = np.random.RandomState(stored["numpy_legacy_seed"])
    counts = (case["labelled"], case["total"] - case["labelled"])
    sizes = (case["batch"] - case["unlabelled_in_batch"], case["unlabelled_in_batch"])
    drawn: dict[tuple, np.ndarray] = {}

    def order(role: str, *key: int) -> np.ndarray:
        name = (role, *key)
        if name not in drawn:
            drawn[name] = legacy.permutation(counts[role == "unlabeled"])
        return drawn[name]

    per_epoch = case["batches_per_epoch"]
    for epoch, name in enumerate(("epoch1", "epoch2")):
        for index, expected in enumerate(case[name]):
            labeled, unlabeled = batch_cases(
                epoch * per_epoch + index, counts=counts, sizes=sizes, order=order
            )
            assert labeled + [counts[0] + i for i in unlabeled] == expected


def test_every_labeled_case_comes_once_per_round(volumes: list[Volume]) -> None:
    rounds = stream(volumes, labeled_windows=1)
    for start in (0, 3, 30):
        seen = [rounds[start + i].labeled.case_ids[0] for i in range(3)]
        assert sorted(seen) == ["0", "1", "2"]


def test_more_windows_than_cases(volumes: list[Volume]) -> None:
    batch = stream(volumes, labeled_windows=5, unlabeled_windows=9)[0]
    assert len(batch.labeled.case_ids) == 5
    assert set(batch.labeled.case_ids) == {"0", "1", "2"}
    assert set(batch.unlabeled.case_ids) == {"3", "4", "5", "6"}


def test_augmentation_is_seeded_by_step_and_slot(volumes: list[Volume]) -> None:
    from monai.transforms import Compose, RandGaussianNoised

    noise = Compose([RandGaussianNoised("image", prob=1.0, std=0.5)])
    noisy = stream(volumes, augmentation=noise)
    first, second = noisy[3], noisy[3]
    assert equal(first, second)
    plain = stream(volumes)[3]
    difference = first.labeled.image - plain.labeled.image
    assert difference.abs().max() > 0
    assert not torch.equal(difference[0], difference[1])
    assert torch.equal(first.labeled.label, plain.labeled.label)


class Asked:
    """Remembers which spacings it was told, and turns nothing."""

    def __init__(self) -> None:
        self.spacings: list[tuple[float, ...]] = []

    def draw(self, spacing: tuple[float, ...], generator: np.random.Generator) -> None:
        self.spacings.append(spacing)


def test_the_geometry_is_told_the_spacing_of_the_turned_window(tmp_path: Path) -> None:
    """The image rises along its first axis, so that a window tells how it was turned."""
    rising = np.arange(12, dtype=np.float32).reshape(1, 12, 1, 1).repeat(12, 2).repeat(12, 3)
    np.save(tmp_path / "image.npy", rising)
    np.save(tmp_path / "label.npy", np.ones((12, 12, 12), np.uint8))
    affine = np.diag([1.0, 1.04, 3.0, 1.0])
    volume = Volume("a", tmp_path / "image.npy", tmp_path / "label.npy", affine)
    asked, turned = Asked(), set()
    made = stream([volume], labeled_windows=1, unlabeled_windows=0, geometry=asked)
    for step in range(20):
        window = made[step].labeled.image[0, 0]
        straight = window[0, 0, 0] != window[1, 0, 0]
        assert asked.spacings[-1] == ((1.0, 1.04, 3.0) if straight else (1.04, 1.0, 3.0))
        turned.add(bool(straight))
    assert turned == {True, False}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"flip_rule": "sometimes"}, "published, symmetric, all, none"),
        ({"window": (8, 8)}, "window has 2 axes"),
        ({"foreground_probability": 1.5}, "give 0 to 1"),
        ({"labeled_windows": 0}, "labeled_windows is 0"),
        ({"unlabeled_windows": -1}, "unlabeled_windows -1"),
    ],
)
def test_settings_that_give_no_batch(volumes: list[Volume], options: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        stream(volumes, **options)


def test_a_window_far_larger_than_all_volumes_is_told(
    volumes: list[Volume], told: Callable[[str], list[str]]
) -> None:
    stream(volumes)
    assert not told("medsemi.data.streams")
    stream(volumes, window=(8, 80, 8))
    (message,) = told("medsemi.data.streams")
    assert "more than twice as long as any labeled case" in message


def test_empty_lists(volumes: list[Volume]) -> None:
    settings = {"window": (8, 8, 8), "labeled_windows": 1, "unlabeled_windows": 1, "seed": 0}
    with pytest.raises(ConfigError, match="labeled cases is empty"):
        StepStream([], volumes, **settings)
    with pytest.raises(ConfigError, match="no unlabeled case"):
        StepStream(volumes[:3], [], **settings)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> list[Volume]:
    """Two labeled cases with one voxel of foreground, and an unlabeled one."""
    folder, made = tmp_path_factory.mktemp("sparse"), []
    for index in range(3):
        random = np.random.default_rng(index)
        np.save(folder / f"{index}.npy", random.random((1, 20, 19, 18), np.float32))
        label = np.zeros((20, 19, 18), np.uint8)
        label[3 + index, 15, 9] = 1
        np.save(folder / f"{index}l.npy", label)
        file = folder / f"{index}l.npy" if index < 2 else None
        made.append(Volume(str(index), folder / f"{index}.npy", file, np.eye(4)))
    return made


def sparse_stream(volumes: list[Volume], probability: float) -> StepStream:
    return StepStream(
        volumes[:2],
        volumes[2:],
        window=(6, 6, 6),
        labeled_windows=2,
        unlabeled_windows=1,
        seed=3,
        foreground_probability=probability,
    )


def test_labeled_windows_are_centered_on_foreground(sparse: list[Volume]) -> None:
    always, half, never = (sparse_stream(sparse, p) for p in (1.0, 0.5, 0.0))
    for step in range(10):
        assert (always[step].labeled.label.sum(dim=(1, 2, 3)) == 1).all()
        assert torch.equal(always[step].unlabeled.image, never[step].unlabeled.image)
    seen = [(half[step].labeled.label.sum(dim=(1, 2, 3)) == 1).tolist() for step in range(40)]
    assert 0.3 < np.mean(seen) < 0.8
    loader = step_loader(half, 4, 7, 2)
    for step, batch in zip(range(4, 7), loader, strict=True):
        assert equal(batch, half[step])


def test_off_is_the_default_and_changes_no_batch(volumes: list[Volume]) -> None:
    """The numbers of a batch as they were before windows could be centered."""
    batch = stream(volumes)[5]
    assert equal(batch, stream(volumes, foreground_probability=0.0)[5])
    assert batch.labeled.case_ids == ("2", "0")
    assert int(batch.labeled.label.sum()) == 506
    assert float(batch.unlabeled.image.double().sum()) == pytest.approx(755.3569233417511, rel=1e-9)


def test_anatomy_of_oblong_voxels_is_not_stretched(volumes: list[Volume]) -> None:
    """Values that grow along the second axis alone still do in every window."""
    folder = volumes[0].image_file.parent
    np.save(folder / "ramp.npy", np.broadcast_to(np.arange(1.0, 12)[:, None], (1, 12, 11, 10)))
    square = Volume("square", folder / "ramp.npy", volumes[0].label_file, np.eye(4))
    oblong = Volume(
        "oblong", folder / "ramp.npy", volumes[0].label_file, np.diag([1.2, 0.8, 0.8, 1])
    )
    settings = {"labeled_windows": 1, "unlabeled_windows": 1, "seed": 0, "window": (5, 5, 5)}
    grows = {}
    for one in (square, oblong):
        made = StepStream([one], [one], **settings)
        assert made[0].unlabeled.square_voxels == made[0].labeled.square_voxels == (one is square)
        images = [made[step].labeled.image[0, 0] for step in range(30)]
        grows[one.case_id] = [bool((image.diff(dim=0) == 0).all()) for image in images]
    assert all(grows["oblong"])
    assert not all(grows["square"])
