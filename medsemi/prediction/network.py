"""From the voxels of a case to its labels: the network of a bundle, on the grid it was trained on.

    source -> working grid -> values prepared -> windows, band by band -> labels on the source

Scores of all classes exist for one band of windows only; each band is turned into labels on the source
grid before the next one is computed. So neither many classes nor a long volume make memory grow beyond
a band, and the label maps themselves.

Where windows overlap, the average is that of the bundle's inferer. Averaged probabilities are then
taken as logarithms: logits up to a constant of each voxel, which labels do not depend on. Logits are
what is interpolated.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medsemi.parts.mirrors import mirrored_logits
from medsemi.prediction.agreement import agreement_findings, dice_of_labels
from medsemi.prediction.bundle_network import load_network
from medsemi.prediction.case import Case, Grid, Segmentation, Volume
from medsemi.prediction.codes import CaseRefused, Finding, RunStopped
from medsemi.prediction.geometry import matching_axes, orthogonal_grid, working_grid
from medsemi.prediction.intensity import background_of, normalize
from medsemi.prediction.ladder import (
    USABLE,
    WORKSPACE,
    Demand,
    MemoryMode,
    fitting_modes,
    modes_for,
)
from medsemi.prediction.memory import free_bytes, is_out_of_memory
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.ranges import range_findings
from medsemi.prediction.resampling import LabelAssembler, to_working
from medsemi.prediction.windows import WindowPlan, stream_bands

# Below it a probability does not move a border; its logarithm is exact enough in half precision.
LEAST_PROBABILITY = 1e-4
# Likewise a logit so far below the greatest of its voxel; sums of them stay within half precision.
LEAST_LOGIT = -100.0
LONGEST_REASON = 160

Labels = NDArray[np.unsignedinteger[Any]]


class Segmenter:
    """Segments cases with the network of one bundle; built once per run.

    A second network in the bundle (student beside teacher) also runs on every case, which doubles the
    time of the network, in every memory mode: how sure a result is must not depend on the machine.

    Args:
        model: what the bundle says about itself.
        options: device, overlap and outputs are used.

    Raises:
        RunStopped: E10, if the bundle cannot be used; E13, if there is no such device.
    """

    def __init__(self, model: Model, options: Options) -> None:
        bundle = load_network(model)
        self._model = model
        self._keep_probabilities = "probabilities" in options.outputs
        self._plan = bundle.plan
        if options.overlap is not None:
            self._plan = bundle.plan.with_overlap(options.overlap)
        self._activations = bundle.activations
        self.networks = [bundle.network, *([bundle.second] if bundle.second else [])]
        weights = sum(p.nbytes for network in self.networks for p in network.parameters())
        self.device = choose_device(options.device, weights + WORKSPACE * bundle.activations)
        self.modes = modes_for(self.device)

    def segment(
        self, case: Case, volume: Volume, progress: Callable[[float], None] | None = None
    ) -> Segmentation:
        """Label every voxel of a case.

        Args:
            case: with a grid.
            volume: its voxels.
            progress: called with the part of all windows that is done, 0 to 1.

        Raises:
            CaseRefused: R11, E01 or E02.
        """
        task = _Task(case, volume, self._model, progress or (lambda done: None))
        ladder = fitting_modes(self.modes, self._demand(task), self.device)
        for mode in ladder:
            segmentation = self._attempt(task, mode)
            if segmentation is not None:
                return segmentation
        raise CaseRefused("E01")

    def _demand(self, task: _Task) -> Demand:
        classes = len(self._model.labels) + 1
        maps = len(self.networks) + len(task.targets()) - 1
        results = prod(task.grid.shape) * maps * (1 if classes <= 2**8 else 2)
        if self._keep_probabilities:
            results += 2 * classes * prod(task.grid.shape)
        window = self._plan.window(task.working.shape)
        return Demand(task.working.shape, window, task.axis, classes, self._activations, results)

    def _attempt(self, task: _Task, mode: MemoryMode) -> Segmentation | None:
        """The result in one mode; None if memory ran out."""
        try:
            with suppress(_HalfPrecisionError):
                return self._segment(task, mode, half=True)
            # Outside of the handler, which would hold what the first try allocated.
            return self._segment(task, mode, half=False)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        gc.collect()  # what the failed attempt held
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _segment(self, task: _Task, mode: MemoryMode, *, half: bool) -> Segmentation:
        held = torch.device("cpu") if mode.volume_on_cpu else self.device
        clock = _Clock(self.device)
        with clock.measure("resample"):
            values, intensity = task.volume.values, self._model.intensity
            background = background_of(values, intensity)
            grids = task.grid, task.working
            image = to_working(values, *grids, background, held, intensity.clip)
            image = normalize(image, values, intensity)
        classes, number = len(self._model.labels) + 1, len(self.networks)
        assemblers = {
            name: LabelAssembler(
                task.working,
                grid,
                classes,
                device=held,
                slice_index=slice_index,
                keep_probabilities=self._keep_probabilities and name == "labels",
            )
            for name, (grid, slice_index) in task.targets().items()
        }
        run = _Run(mode, self.device, self._plan, clock, task, half)
        run.network_pass(self.networks[0], image, list(assemblers.values()), (0, number))
        labels = {name: assembler.finish() for name, assembler in assemblers.items()}
        agreement: dict[str, float | None] = {}
        if number > 1:
            other = LabelAssembler(task.working, task.grid, classes, device=held)
            run.network_pass(self.networks[1], image, [other], (1, number))
            agreement = dice_of_labels(labels["labels"], other.finish(), self._model.labels)
        return Segmentation(
            labels=labels["labels"],
            slice_labels=task.slice_labels(labels),
            agreement=agreement,
            memory_mode=mode.number,
            seconds=clock.seconds,
            findings=self._findings(task, mode, agreement),
            probabilities=assemblers["labels"].probabilities,
            orthogonal=task.orthogonal(labels),
        )

    def _findings(
        self, task: _Task, mode: MemoryMode, agreement: Mapping[str, float | None]
    ) -> tuple[Finding, ...]:
        smaller = mode != self.modes[0]
        return (
            *agreement_findings(agreement, self._model.agreement_limit),
            *range_findings(self._model, task.case, task.volume),
            *((Finding("W21", {"mode": mode.number}),) if smaller else ()),
        )


def choose_device(wanted: str, needed: int) -> torch.device:
    """The device to run on.

    Args:
        wanted: `auto`, `cpu`, `cuda` or `cuda:N`.
        needed: bytes of weights and of one window; `auto` takes the first GPU that has them free.

    Raises:
        RunStopped: E13, if there is no such GPU.
    """
    gpus = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    if wanted == "auto":
        free = (gpu for gpu in gpus if USABLE * free_bytes(gpu) >= needed)
        return next(free, torch.device("cpu"))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cuda" and (device.index or 0) < len(gpus):
        return gpus[device.index or 0]
    if device.type != "cpu":
        why = f"--device {wanted}: this machine has {len(gpus)} GPUs; take auto, cpu or cuda:N"
        raise RunStopped("E13", why=why)
    return device


class _Task:
    """A case on its way: where it is computed, and on which grids its labels are wanted."""

    def __init__(
        self, case: Case, volume: Volume, model: Model, progress: Callable[[float], None]
    ) -> None:
        assert case.grid is not None
        self.case, self.volume, self.grid, self.progress = case, volume, case.grid, progress
        self.working = working_grid(self.grid, model.spacing, model.orientation)
        self.axis = matching_axes(self.working, self.grid)[0]
        self._whole_slices = all(abs(at - round(at)) < 1e-3 for at in case.slice_index)
        self._tilted = "tilted" in (case.category, *case.flags)

    def targets(self) -> dict[str, tuple[Grid, tuple[float, ...] | None]]:
        """Grid and slice positions of each label map."""
        targets: dict[str, tuple[Grid, tuple[float, ...] | None]] = {"labels": (self.grid, None)}
        if not self._whole_slices:
            targets["slices"] = (self.grid, self.case.slice_index)
        if self._tilted:
            targets["orthogonal"] = (orthogonal_grid(self.grid), None)
        return targets

    def slice_labels(self, labels: Mapping[str, Labels]) -> Labels:
        """Labels on the planes of the source images."""
        if "slices" in labels:
            return labels["slices"]
        index = [round(at) for at in self.case.slice_index]
        whole = labels["labels"]
        return whole if index in ([], list(range(whole.shape[2]))) else whole[:, :, index]

    def orthogonal(self, labels: Mapping[str, Labels]) -> tuple[Labels, Grid] | None:
        """Labels on the straightened grid of a tilted stack, with that grid."""
        if not self._tilted:
            return None
        return labels["orthogonal"], self.targets()["orthogonal"][0]


class _HalfPrecisionError(Exception):
    """A score may be too large for half precision, or is no number in any."""


class _Clock:
    """Seconds of each stage; waits for a GPU, so that its work counts where it was asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = {"resample": 0.0, "network": 0.0, "back": 0.0}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = self._now()
        yield
        self.seconds[stage] += self._now() - start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@dataclass(frozen=True)
class _Run:
    """One attempt at a case in one memory mode."""

    mode: MemoryMode
    device: torch.device
    plan: WindowPlan
    clock: _Clock
    task: _Task
    half: bool

    @property
    def network_device(self) -> torch.device:
        """Where the network runs."""
        return torch.device("cpu") if self.mode.network_on_cpu else self.device

    @property
    def precision(self) -> AbstractContextManager[Any]:
        """float16 on a GPU: it rounds eight times finer than bfloat16, and an overflow is noticed."""
        if self.network_device.type == "cuda" and self.half:
            return torch.autocast("cuda", dtype=torch.float16)
        return nullcontext()

    def network_pass(
        self,
        network: nn.Module,
        image: Tensor,
        assemblers: list[LabelAssembler],
        part: tuple[int, int],
    ) -> None:
        """Run a network over all windows and give its scores to the assemblers.

        Args:
            network: of the bundle.
            image: prepared, on the working grid.
            assemblers: of the label maps.
            part: number of this pass, from 0, and of all passes.
        """
        device = self.network_device
        network.to(device)
        total, done = self.plan.count(self.task.working.shape), 0

        def predict(windows: Tensor) -> Tensor:
            nonlocal done
            scores = self._scores(network, windows.to(device))
            done += len(windows)
            self.task.progress((part[0] + done / total) / part[1])
            return scores

        def consume(first: int, scores: Tensor) -> None:
            with self.clock.measure("back"):
                # Once a band, not once a window: the answer waits for a GPU.
                if not bool(torch.isfinite(scores).all()):
                    if self.half and device.type == "cuda":
                        raise _HalfPrecisionError
                    raise CaseRefused("E02", error="it returned values that are no numbers")
                if self.plan.average == "probability":
                    scores = scores.clamp_(min=LEAST_PROBABILITY).log_()
                for assembler in assemblers:
                    assembler.add(first, scores)

        back = self.clock.seconds["back"]
        with self.clock.measure("network"), torch.inference_mode():
            stream_bands(
                image,
                predict,
                self.plan,
                self.task.axis,
                consume,
                batch=self.mode.batch,
                dtype=torch.float16 if self.mode.half else torch.float32,
            )
        self.clock.seconds["network"] -= self.clock.seconds["back"] - back

    def _scores(self, network: nn.Module, windows: Tensor) -> Tensor:
        """Probabilities or logits, (batch, classes, *window)."""
        try:
            with self.precision:
                scores = mirrored_logits(network, windows, self.plan.mirror_axes)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            lines = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]
            raise CaseRefused("E02", error=reason) from error
        scores = scores.float()
        if self.plan.average == "probability":
            return scores.softmax(dim=1)
        if self.mode.half:  # which is exact near zero: all logits of a voxel may be shifted alike
            return (scores - scores.amax(dim=1, keepdim=True)).clamp_(min=LEAST_LOGIT)
        return scores
