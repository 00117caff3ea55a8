"""The trainer: runs any method on any stream, step by step, and can be killed at any moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from medsemi.atomic import remove_unfinished
from medsemi.batch import Batch
from medsemi.data.held_out import keep_trained_cases
from medsemi.data.streams import StepStream, step_loader
from medsemi.errors import CheckpointError, ConfigError, MedsemiError
from medsemi.methods.method import LossTerms, Method
from medsemi.parts.intensity_augmentation import IntensityAugmentation
from medsemi.parts.teacher import EmaTeacher, of_latest
from medsemi.seeds import derive_generator, derive_seed
from medsemi.training.checkpoint import (
    CheckpointEvents,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from medsemi.training.deep_supervision import DeepSupervision
from medsemi.training.devices import checked_device
from medsemi.training.earlier import set_aside, set_results_aside
from medsemi.training.exported import exported
from medsemi.training.health import all_finite
from medsemi.training.occupancy import occupied
from medsemi.training.student_views import StudentViews
from medsemi.training.window_fit import refuse_unfit

logger = logging.getLogger(__name__)

AMP_TYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class SemiSupervisedTrainer(Trainer):
    """A MONAI trainer whose iteration is one optimizer step of a `Method`.

    It is the only place that knows devices, mixed precision, processes and checkpoints. A run is
    one ignite epoch of `steps` iterations; after iteration k, `state.iteration` is k and
    `state.output` holds the detached scalars of step k - 1.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        method: Method,
        optimizer: Optimizer,
        stream: StepStream,
        steps: int,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        learning_rate: Callable[[int], float] | None = None,
        amp: str = "none",
        gradient_clip: float | None = None,
        intensity: IntensityAugmentation | None = None,
        weight_average: float = 0.0,
        deep_supervision: float = 0.0,
        channels_last: bool | None = None,
        compile: bool = False,  # noqa: A002  (the word that torch and MONAI use)
        num_workers: int = 0,
        checkpoint_interval: int = 100,
        max_epochs: int = 1,
        handlers: Sequence[Any] = (),
    ) -> None:
        """Put the method on its device.

        Args:
            device: where the networks are.
            method: what is trained.
            optimizer: over the trainable parameters of `method`.
            stream: maps a step to its batch.
            steps: length of the training, in optimizer steps.
            output_dir: the run folder; `last.pt` and the exported weights go there.
            settings: everything that the result depends on; a checkpoint made with other settings
                is refused.
            learning_rate: step -> rate; None leaves that of the optimizer.
            amp: `none`, `bf16` or `fp16` (CUDA only).
            gradient_clip: largest norm of the gradient; None does not clip.
            intensity: how intensities of what learning networks see are changed; None leaves them.
            weight_average: share of a moving average of the deployed weights that stays at each
                step, of the latest tenth of the steps while that is less; the average is deployed
                then. 0 deploys the network of the method, and so does a method that deploys a
                teacher, whatever the share.
            deep_supervision: above 0, students also learn at each coarser scale of their decoder,
                which has this weight by that of the next finer one; a method with heads of its own
                at several scales is left as it is.
            channels_last: memory format of the networks; None takes the faster one.
            compile: compile the networks in place.
            num_workers: processes that prepare batches; the result does not depend on it.
            checkpoint_interval: steps between two checkpoints.
            max_epochs: 1; MONAI's bundle properties ask for it.
            handlers: ignite handlers, attached in order.

        Raises:
            ConfigError: if a setting cannot be, or does not fit the machine or the networks.
        """
        device = _current(checked_device(device))
        _refuse_small(steps, checkpoint_interval, num_workers, gradient_clip)
        super().__init__(
            device, max_epochs, data_loader=(), epoch_length=int(steps), decollate=False
        )
        self.amp_type = amp_type(amp, device)
        self.method = place(method, device, channels_last)
        if compile:
            for network in method.networks.values():
                network.compile()
        if not 0 <= weight_average < 1:
            raise ConfigError(f"weight_average is {weight_average}; give 0 to below 1.")
        self.average: EmaTeacher | None = None
        # A teacher is an average already, and the average of an average lags far behind.
        if weight_average and any(p.requires_grad for p in method.inference_network.parameters()):
            self.average = EmaTeacher(
                method.inference_network, weight_average, "average", of_latest
            )
        self.views = StudentViews(intensity or IntensityAugmentation(0.0), method.networks)
        self.network = self.deployed
        self.scales: DeepSupervision | None = None
        if deep_supervision and not method.has_coarse_heads:
            self.scales = DeepSupervision(method, deep_supervision, stream.seed)
            optimizer.add_param_group({"params": list(self.scales.heads.parameters())})
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.gradient_clip = gradient_clip
        self.stream, self.steps, self.num_workers = stream, int(steps), num_workers
        # The windows of a step are those of all ranks.
        shared = {"world_size": stream.world_size} if stream.world_size > 1 else {}
        self.output_dir, self.settings = Path(output_dir), {**settings, **shared}
        self.loss_scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self.losses: nn.Module = self.method if self.scales is None else self.scales
        self.register_events(*CheckpointEvents)
        # Exported before trackers send the weights; saved after validation, which a kill repeats.
        self.add_event_handler(Events.COMPLETED, self._finish)
        self._register_handlers(list(handlers))
        self.add_event_handler(Events.ITERATION_COMPLETED(every=checkpoint_interval), self._save)

    @property
    def checkpoint(self) -> Path:
        """The file that a killed training continues from."""
        return self.output_dir / "last.pt"

    @property
    def window_shape(self) -> tuple[int, ...]:
        """(channels, *space) of a window."""
        return self.stream.labeled[0].image.shape[0], *self.stream.window

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks that are scored: those of the method, and the average of its weights."""
        if self.average is None:
            return self.method.networks
        return {**self.method.networks, "average": self.average.network}

    @property
    def deployed(self) -> nn.Module:
        """The network that is used for inference."""
        return self.method.inference_network if self.average is None else self.average.network

    def run(self) -> None:  # type: ignore[override]  # MONAI's workflows take no data here
        """Train to the last step, from the last checkpoint if there is one.

        Raises:
            CheckpointError: if the checkpoint belongs to other settings.
            ConfigError: if window or labels do not fit the networks.
            MedsemiError: if the loss is no longer a number, or another process trains in the folder.
        """
        # The first rank writes; processes of one training share the folder.
        with occupied(self.output_dir) if self.stream.rank == 0 else nullcontext():
            self._train()

    def _train(self) -> None:
        start = self._resume()
        if self.stream.rank == 0:
            remove_unfinished(self.output_dir)
            if start == 0:
                set_results_aside(self.output_dir)
            keep_trained_cases(self.output_dir, self.stream.case_ids)
        if start < self.steps:
            wrapped = isinstance(self.losses, DistributedDataParallel)
            if torch.distributed.is_initialized() and not wrapped:
                self.losses = DistributedDataParallel(self.losses)
            self.data_loader = step_loader(self.stream, start, self.steps, self.num_workers)
            try:
                super().run()
            except (RuntimeError, IndexError, ValueError) as failed:
                labels = [case.label for case in self.stream.labeled if case.label is not None]
                largest = max((int(label.max()) for label in labels), default=0)
                networks = self.method.networks
                refuse_unfit(networks, self.window_shape, self.state.device, largest, failed)
                raise
        else:
            # A kill may have come after the last step and before its report.
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)

    @property
    def _saved_modules(self) -> dict[str, nn.Module]:
        """What has weights or statistics in a checkpoint."""
        modules: dict[str, nn.Module] = {"method": self.method}
        if self.average is not None:
            modules["average"] = self.average
        if self.scales is not None:
            modules["scales"] = self.scales.heads
        return modules

    def _resume(self) -> int:
        state = load_checkpoint(self.checkpoint, self.settings)
        if state is None:
            return 0
        try:
            for name, module in self._saved_modules.items():
                module.load_state_dict(state[name])
        except RuntimeError as error:
            msg = (
                f"{self.checkpoint} holds another network: take another output_dir or set it back."
            )
            raise CheckpointError(msg) from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss_scaler.load_state_dict(state["scaler"])
        epoch = {"max_epochs": 1, "epoch_length": self.steps}
        self.load_state_dict({"iteration": state["step"], **epoch})
        return int(state["step"])

    def _iteration(self, engine: Engine, batchdata: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        step, device = engine.state.iteration - 1, self.state.device
        seed, rank = self.stream.seed, self.stream.rank
        torch.manual_seed(derive_seed(seed, step, rank, "network"))
        self.method.train()
        self.views.begin(seed, step, rank)
        batch = batchdata.to(device)
        draws = self.method.draw(batch, derive_generator(seed, step, rank, "draws"))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, self.amp_type, enabled=self.amp_type is not None):
            terms: LossTerms = self.losses(batch, draws, step)
        self.loss_scaler.scale(terms.total).backward()
        rate = self._optimize(step)
        self.method.after_step(step)
        if self.average is not None:
            self.average.follow(self.method.inference_network, step)
        return terms.detached() | {"learning_rate": torch.tensor(rate)}

    def _optimize(self, step: int) -> float:
        if self.learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
        if self.gradient_clip is not None:
            self.loss_scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.losses.parameters(), self.gradient_clip)
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()
        return float(self.optimizer.param_groups[0]["lr"])

    def _save(self, engine: Engine) -> None:
        output = cast("dict[str, Tensor]", engine.state.output)
        modules = self._saved_modules
        values: list[Tensor] = [p for module in modules.values() for p in module.parameters()]
        if self.stream.rank == 0:  # whose statistics are saved, and go to the other ranks
            values += [b for module in modules.values() for b in module.buffers()]
        if not all_finite(output["loss"], values):
            kept = (
                f" {self.checkpoint} holds the last good state."
                if self.checkpoint.is_file()
                else ""
            )
            raise MedsemiError(
                "The loss, or a weight or statistic of a network, is not a number at step"
                f" {engine.state.iteration}; lower the learning rate.{kept}"
            )
        if self.stream.rank == 0:
            self.fire_event(CheckpointEvents.BEFORE)
            state: dict[str, Any] = {
                **{name: module.state_dict() for name, module in modules.items()},
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.loss_scaler.state_dict(),
                "step": engine.state.iteration,
            }
            save_checkpoint(self.checkpoint, state, self.settings)

    def _finish(self, engine: Engine) -> None:
        if engine.state.output is not None:
            self._save_last(engine)
        if self.stream.rank == 0:
            self._export()

    def _save_last(self, engine: Engine) -> None:
        if torch.distributed.is_initialized():
            # Batch-norm statistics are those of each rank's windows; the first rank's are deployed.
            for buffer in self.method.buffers():
                torch.distributed.broadcast(buffer, 0)
        self._save(engine)

    def _export(self) -> None:
        for name, network in self.networks.items():
            save_weights(self.output_dir / f"{name}.pt", network)
        save_weights(self.output_dir / "model.pt", self.deployed)
        # What others put here as the training went on would be scored as well.
        foreign = [path for path in exported(self.output_dir) if path.stem not in self.networks]
        set_aside(self.output_dir, foreign)


def _current(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # what names no device, such as an event, means this one
    return device


def amp_type(amp: str, device: torch.device) -> torch.dtype | None:
    """Return the type of automatic mixed precision, None without it.

    Raises:
        ConfigError: for another name, or fp16 without a GPU.
    """
    if amp not in AMP_TYPES:
        raise ConfigError(f"amp is '{amp}'; it must be one of {', '.join(AMP_TYPES)}.")
    if amp == "fp16" and device.type != "cuda":
        raise ConfigError("amp is 'fp16', which needs a CUDA device; take 'bf16' or 'none'.")
    if amp == "bf16" and device.type == "cpu":
        # oneDNN in torch 2.13: gradients of 3-convolutions on 2x2x2 voxels hold memory that nobody wrote.
        logger.warning(
            "amp is 'bf16' on a CPU, whose gradients are wrong where a stage of a 3D network has 2x2x2"
            " voxels, as with windows of 32x32x32: take larger windows, or --amp none."
        )
    if (
        amp == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        logger.warning("amp is 'bf16', which this GPU only emulates: --amp fp16 is faster on it.")
    return AMP_TYPES[amp]


def _refuse_small(
    steps: int, checkpoint_interval: int, num_workers: int, gradient_clip: float | None
) -> None:
    for name, count in (("steps", steps), ("checkpoint_interval", checkpoint_interval)):
        if count < 1:
            raise ConfigError(f"{name} is {count}; give 1 or more.")
    if num_workers < 0:
        raise ConfigError(f"num_workers is {num_workers}; give 0 or more.")
    if gradient_clip is not None and gradient_clip <= 0:
        raise ConfigError(f"gradient_clip is {gradient_clip}; give more than 0, or null for none.")


def place(method: Method, device: torch.device, channels_last: bool | None) -> Method:
    """Move a method to its device, in the memory format that its convolutions run faster in.

    Channels last is faster where batch norm has kernels for it; instance norm falls back to the
    other format, so there it is off.
    """
    if channels_last is None:
        names = {type(module).__name__ for module in method.modules()}
        channels_last = not any(name.startswith(("InstanceNorm", "GroupNorm")) for name in names)
    method.to(device)
    if channels_last:
        volumetric = any(p.ndim == 5 for p in method.parameters())
        formats = {True: torch.channels_last_3d, False: torch.channels_last}
        method.to(memory_format=formats[volumetric])  # type: ignore[call-overload]  # stub lacks it
    return method
