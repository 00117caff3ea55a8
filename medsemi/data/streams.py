"""The batch of step t is a pure function of (manifest, seed, t, rank).

The loader's sampler is a range of step numbers and its dataset maps a step to a whole batch, so
that workers hold no state: their number changes nothing, and a training that was killed asks for
step t again and gets the same windows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from medsemi.batch import Batch, Sub
from medsemi.data.geometry import Geometry, turned_axes, window_cutter
from medsemi.data.label_values import distinct_values
from medsemi.data.stretching import changed, draw_change, stretched
from medsemi.data.windows import FLIP_RULES, draw_foreground, draw_window, has_square_voxels
from medsemi.errors import ConfigError, DataError
from medsemi.seeds import derive_seed

logger = logging.getLogger(__name__)

Augmentation = Callable[[Mapping[str, Any]], Mapping[str, Any]]
WINDOW_RULES = ("cut", "stretch")


class Windowed(Protocol):
    """What windows are cut from: `medsemi.data.volumes.Volume`, or a slice of one."""

    @property
    def case_id(self) -> str:
        """Name of the case."""

    @property
    def volume_id(self) -> str:
        """Name of the case in the manifest, also where this is a slice of it."""

    @property
    def image(self) -> NDArray[np.float32]:
        """Intensities, (channels, *space)."""

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """Class indices, (*space); None for an unlabeled case."""

    @property
    def foreground_counts(self) -> NDArray[np.int64]:
        """Voxels with a class above 0 in each plane of the first axis."""

    @property
    def lost_classes(self) -> tuple[int, ...]:
        """Classes of which resampling left no voxel in the label of the volume."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in mm, one per spatial axis."""


class StepStream(Dataset[Batch]):
    """Maps a step to its batch."""

    def __init__(
        self,
        labeled: Sequence[Windowed],
        unlabeled: Sequence[Windowed],
        *,
        window: Sequence[int],
        labeled_windows: int,
        unlabeled_windows: int,
        seed: int,
        flip_rule: str = "published",
        augmentation: Augmentation | None = None,
        geometry: Geometry | None = None,
        foreground_probability: float = 0.0,
        window_rule: str = "cut",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Remember what a batch is made of; nothing is read.

        Args:
            labeled: volumes, or slices of volumes, with labels.
            unlabeled: those whose labels are not read; may be empty if none are asked for.
            window: spatial shape of a window, in voxels.
            labeled_windows: labeled windows of a batch, on each rank.
            unlabeled_windows: unlabeled windows of a batch, on each rank; 0 gives none.
            seed: of everything that is drawn.
            flip_rule: see `draw_window`.
            augmentation: random transforms of one window {"image", "label"}; it is seeded for
                each window, and called without a label for unlabeled ones.
            geometry: how windows are rotated and scaled; None cuts them straight.
            foreground_probability: of a labeled window to be centered on a voxel of the
                foreground, 0..1; 0, as published, lets every window lie anywhere.
            window_rule: `cut` takes windows of the volume as it is; `stretch` resizes the whole slice
                to the window, as published for cardiac slices (`flip_rule` and
                `foreground_probability` then mean nothing).
            rank: number of this process.
            world_size: count of processes that share the training.

        Raises:
            ConfigError: if the settings cannot give a batch.
            DataError: if resampling left no voxel of a class in any labeled case.
        """
        self.labeled, self.unlabeled = list(labeled), list(unlabeled)
        self.window = tuple(int(n) for n in window)
        self.labeled_windows, self.unlabeled_windows = labeled_windows, unlabeled_windows
        self.seed, self.flip_rule, self.augmentation = seed, flip_rule, augmentation
        self.foreground_probability, self.window_rule = foreground_probability, window_rule
        self.rank, self.world_size, self.geometry = rank, world_size, geometry
        self._check()

    def _check(self) -> None:
        if self.window_rule not in WINDOW_RULES:
            msg = f"window_rule is '{self.window_rule}'; it must be cut or stretch."
            raise ConfigError(msg)
        if self.flip_rule not in FLIP_RULES:
            msg = f"flip_rule is '{self.flip_rule}'; it must be one of {', '.join(FLIP_RULES)}."
            raise ConfigError(msg)
        if self.labeled_windows < 1 or self.unlabeled_windows < 0:
            raise ConfigError(
                f"labeled_windows is {self.labeled_windows} and unlabeled_windows"
                f" {self.unlabeled_windows}; give 1 or more, and 0 or more."
            )
        if not 0 <= self.foreground_probability <= 1:
            msg = f"foreground_probability is {self.foreground_probability}; give 0 to 1."
            raise ConfigError(msg)
        self._check_volumes()

    def _check_volumes(self) -> None:
        if not self.labeled:
            raise ConfigError("The list of labeled cases is empty; training needs at least one.")
        if self.unlabeled_windows and not self.unlabeled:
            msg = "The manifest lists no unlabeled case; add some or set unlabeled_windows to 0."
            raise ConfigError(msg)
        axes = self.labeled[0].image.ndim - 1
        if len(self.window) != axes:
            msg = f"window has {len(self.window)} axes and the volumes have {axes}; give {axes}."
            raise ConfigError(msg)
        _refuse_lost_classes(self.labeled)
        longest = np.max([one.image.shape[1:] for one in self.labeled], axis=0)
        if self.window_rule == "cut" and (np.array(self.window) > 2 * longest).any():
            logger.warning(
                "window %s is more than twice as long as any labeled case, of at most %s voxels; most"
                " of it is zeros.", self.window, tuple(longest.tolist()),
            )  # fmt: skip
        if self.window_rule == "stretch" and axes != 2:
            msg = "window_rule is 'stretch', which is for slices; take 'cut' for volumes."
            raise ConfigError(msg)

    @property
    def case_ids(self) -> dict[str, list[str]]:
        """Names of the cases that windows are cut from, in the manifest, by role."""
        volumes = {"labeled": self.labeled, "unlabeled": self.unlabeled}
        return {role: sorted({one.volume_id for one in all_}) for role, all_ in volumes.items()}

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of `step` (from 0) on this rank."""
        labeled, unlabeled = batch_cases(
            step * self.world_size + self.rank,
            counts=(len(self.labeled), len(self.unlabeled)),
            sizes=(self.labeled_windows, self.unlabeled_windows),
            order=self._order,
        )
        first = self._sub([self.labeled[i] for i in labeled], step, "labeled")
        if not self.unlabeled_windows:
            return Batch(first)
        return Batch(first, self._sub([self.unlabeled[i] for i in unlabeled], step, "unlabeled"))

    def _order(self, role: str, *key: int) -> NDArray[np.int64]:
        cases = self.labeled if role == "labeled" else self.unlabeled
        return np.random.default_rng(derive_seed(self.seed, role, *key)).permutation(len(cases))

    def _sub(self, volumes: Sequence[Windowed], step: int, role: str) -> Sub:
        images, labels = [], []
        for slot, volume in enumerate(volumes):
            seed = derive_seed(self.seed, step, self.rank, role, slot)
            probability = self.foreground_probability if role == "labeled" else 0.0
            data = self._window(volume, probability, np.random.default_rng(seed))
            if self.augmentation is not None:
                data = self._augmented(data, seed)
            images.append(torch.from_numpy(np.ascontiguousarray(data["image"])))
            if role == "labeled":
                labels.append(torch.from_numpy(np.ascontiguousarray(data["label"])))
        stacked = torch.stack(labels) if labels else None
        square = all(has_square_voxels(volume.spacing) for volume in volumes)
        return Sub(torch.stack(images), stacked, tuple(v.case_id for v in volumes), square)

    def _window(
        self, volume: Windowed, probability: float, generator: np.random.Generator
    ) -> dict[str, Any]:
        if self.window_rule == "stretch":
            return self._stretched(volume, generator)
        shape, center = volume.image.shape[1:], None
        if probability:
            center = draw_foreground(volume.label, volume.foreground_counts, probability, generator)
        spacing, matrix = volume.spacing, None
        draw = draw_window(shape, self.window, self.flip_rule, generator, center, spacing)
        if self.geometry is not None:
            matrix = self.geometry.draw(turned_axes(spacing, draw.turns), generator)
        cut = window_cutter(draw, self.window, matrix)
        data: dict[str, Any] = {"image": cut(volume.image)}
        if volume.label is not None:
            data["label"] = cut(volume.label)
        return data

    def _stretched(self, volume: Windowed, generator: np.random.Generator) -> dict[str, Any]:
        change = draw_change(generator)
        data: dict[str, Any] = {"image": stretched(changed(volume.image, change), self.window)}
        if volume.label is not None:
            data["label"] = stretched(changed(volume.label, change), self.window)
        return data

    def _augmented(self, data: dict[str, Any], seed: int) -> dict[str, Any]:
        assert self.augmentation is not None
        self.augmentation.set_random_state(seed % 2**32)  # type: ignore[attr-defined]
        channel_first = {k: v if k == "image" else v[None] for k, v in data.items()}
        result = self.augmentation(channel_first)
        arrays = {k: np.asarray(result[k]) for k in data}
        return {k: v if k == "image" else v[0].astype(np.uint8) for k, v in arrays.items()}


def _refuse_lost_classes(labeled: Sequence[Windowed]) -> None:
    lost = {value for one in labeled for value in one.lost_classes}
    for one in labeled if lost else ():
        lost -= set() if one.label is None else set(distinct_values(one.label).tolist())
    if lost:
        raise DataError(
            f"no labeled case has a voxel of the classes {sorted(lost)} left after resampling; give a"
            " finer spacing, or take them out of the labels and of 'classes'."
        )


def batch_cases(
    number: int,
    *,
    counts: tuple[int, int],
    sizes: tuple[int, int],
    order: Callable[..., NDArray[np.int64]],
) -> tuple[list[int], list[int]]:
    """Return which labeled and which unlabeled cases make up batch `number`.

    The labeled cases run in rounds: a permutation cut into batches, its remainder dropped (a batch
    larger than the list takes several permutations). The unlabeled ones are taken from
    permutations that start afresh with each round of the labeled ones.

    Args:
        number: from 0, counting the batches of all ranks.
        counts: labeled and unlabeled cases.
        sizes: labeled and unlabeled windows of a batch.
        order: (role, round, ...) -> a permutation of the cases of that role.

    Source: BCP, `dataloaders/dataset.py` (TwoStreamBatchSampler).
    """
    per_round = max(counts[0] // sizes[0], 1)
    cycle, position = divmod(number, per_round)
    labeled = _take(lambda k: order("labeled", cycle, k), position * sizes[0], sizes[0])
    if not sizes[1]:
        return labeled, []
    unlabeled = _take(lambda k: order("unlabeled", cycle, k), position * sizes[1], sizes[1])
    return labeled, unlabeled


def _take(permutation: Callable[[int], NDArray[np.int64]], start: int, size: int) -> list[int]:
    endless: Iterator[int] = (int(i) for k in count() for i in permutation(k))
    return list(islice(endless, start, start + size))


def step_loader(stream: StepStream, start: int, stop: int, num_workers: int) -> DataLoader[Batch]:
    """Return the loader of the steps `start` to `stop` - 1; nothing in it is random.

    Args:
        stream: the map from step to batch.
        start: first step.
        stop: one after the last step.
        num_workers: processes that prepare batches; 0 prepares them in this one.
    """
    return DataLoader(
        stream,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
    )
