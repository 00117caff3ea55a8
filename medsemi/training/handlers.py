"""What happens beside the steps: validation, overlay pictures, and the health of a training."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from ignite.engine import Events
from torch import nn

from medsemi.atomic import write_atomically
from medsemi.data.volumes import Volume
from medsemi.errors import ConfigError
from medsemi.evaluation.evaluate import Inference, evaluate_cases, segmenter
from medsemi.evaluation.overlay import draw_overlay
from medsemi.methods.method import Method
from medsemi.training.checkpoint import save_weights
from medsemi.training.health import LARGEST_GAP, teacher_gap
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import SemiSupervisedTrainer
from medsemi.training.window_fit import refuse_other_classes

logger = logging.getLogger(__name__)

COLLAPSED = (
    "teacher_collapsed: after step %d the teacher is %.3f Dice below the better student, so its"
    " pseudo-labels hold the students back; check that all networks start from the same weights."
)


class Validation:
    """Scores all networks of the method on the validation cases and draws some of them."""

    def __init__(
        self,
        *,
        volumes: Sequence[Volume],
        inference: Inference,
        classes: Mapping[int, str],
        interval: int,
        tracker: Tracker,
        output_dir: str | Path,
        pictures: int = 3,
    ) -> None:
        """Remember what is scored; without volumes nothing happens.

        Args:
            volumes: the validation cases, with labels.
            inference: as for `evaluate_cases`.
            classes: name of each label; 0 is the background.
            interval: steps between two validations; the last step is always validated.
            tracker: where scores and pictures go.
            output_dir: the run folder; results go to `validation/` and `overlays/` there.
            pictures: how many cases are drawn, always the same ones.

        Raises:
            ConfigError: if the interval is no step.
        """
        if interval < 1:
            raise ConfigError(f"val_interval is {interval}; give 1 or more.")
        self.volumes, self.inference, self.classes = list(volumes), inference, dict(classes)
        self.interval, self.tracker, self.pictures = interval, tracker, pictures
        self.output_dir, self._warned = Path(output_dir), False

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Validate every `interval` steps and after the last one.

        A network that tells other classes is refused at the start, by a ConfigError.
        """
        engine.add_event_handler(Events.STARTED, self._refuse_other_classes)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)

    def _refuse_other_classes(self, engine: SemiSupervisedTrainer) -> None:
        shape, device = engine.window_shape, engine.state.device
        refuse_other_classes(engine.method.networks, shape, device, len(self.classes))

    def _after_step(self, engine: SemiSupervisedTrainer) -> None:
        step = engine.state.iteration
        due = step % self.interval == 0 or step == engine.steps
        if due and self.volumes and engine.stream.rank == 0:
            self._validate(engine, step)

    def _validate(self, engine: SemiSupervisedTrainer, step: int) -> None:
        networks, device = engine.networks, engine.state.device
        folder = self.output_dir / "validation" / f"step_{step:06d}"
        summaries = evaluate_cases(
            networks, self.volumes, self.inference, self.classes, folder, device, engine.amp_type
        )
        values = {}
        for name, summary in summaries.items():
            metrics = summary.overall.metrics
            values[f"val/dice_{name}"] = metrics["dice"].mean
            values[f"val/hd95_mm_{name}"] = metrics["hd95_mm"].mean
            values[f"val/missed_{name}"] = float(summary.overall.missed)
        known = {name: value for name, value in values.items() if value is not None}
        self.tracker.log(known, step)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        logger.info("validation after step %d: %s", step, shown)
        dice = {name: summary.overall.metrics["dice"].mean for name, summary in summaries.items()}
        self._watch_teacher({k: v for k, v in dice.items() if v is not None}, engine.method, step)
        self._draw(networks, step, device, engine.amp_type)
        self._keep_best(engine.deployed, known, networks)

    def _watch_teacher(self, dice: Mapping[str, float], method: Method, step: int) -> None:
        """Report how far the teacher lies below the better student; warn of a broken one, once."""
        gap = teacher_gap(dice)
        if gap is None:
            return
        # Pseudo-labels count little before; methods without a ramp trust them from the start.
        settled = getattr(method, "warmup_steps", 0) + getattr(method, "rampup_steps", 0)
        collapsed = step >= settled and gap > LARGEST_GAP
        values = {"val/teacher_gap": gap, "teacher_collapsed": float(collapsed)}
        self.tracker.log(values, step)
        if collapsed and not self._warned:
            self._warned = True
            logger.warning(COLLAPSED, step, gap)

    def _draw(
        self,
        networks: Mapping[str, nn.Module],
        step: int,
        device: torch.device,
        amp_type: torch.dtype | None,
    ) -> None:
        """Draw the labels that were scored."""
        segment = segmenter(self.inference, device, amp_type, None, len(self.classes))
        for volume in self.volumes[: self.pictures]:
            labels = {name: segment(volume, volume, one) for name, one in networks.items()}
            path = self.output_dir / "overlays" / f"{volume.case_id}_step_{step:06d}.png"
            draw_overlay(path, volume, labels, f"{volume.case_id}, step {step}")
            self.tracker.log_file(path, "overlays")

    def _keep_best(
        self, deployed: nn.Module, values: Mapping[str, float], networks: Mapping[str, nn.Module]
    ) -> None:
        """Keep the best weights beside the last ones; the last ones are what is deployed."""
        name = next(name for name, network in networks.items() if network is deployed)
        score, record = values[f"val/dice_{name}"], self.output_dir / "best.txt"
        if record.is_file() and float(record.read_text()) >= score:
            return
        save_weights(self.output_dir / "best.pt", deployed)
        with write_atomically(record) as temporary:
            temporary.write_text(repr(score))


class Progress:
    """Tells throughput, memory and loss every so many steps, in the log and to the tracker."""

    def __init__(self, tracker: Tracker, interval: int = 50) -> None:
        """Remember where values go and how often."""
        self.tracker, self.interval = tracker, interval
        self._since = (0, time.perf_counter())

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Start the clock with the first step."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._tell)

    def _start(self, engine: SemiSupervisedTrainer) -> None:
        self._since = (engine.state.iteration, time.perf_counter())

    def _tell(self, engine: SemiSupervisedTrainer) -> None:
        step, now = engine.state.iteration, time.perf_counter()
        rate = (step - self._since[0]) / (now - self._since[1])
        self._since = (step, now)
        values = {"steps_per_second": rate, "memory_mib": peak_memory(engine.state.device)}
        self.tracker.log(values, step)
        left = (engine.steps - step) / rate
        loss = float(engine.state.output["loss"])
        text = "step %d of %d, loss %.4f, %.2f steps/s, %d min %02d s left"
        logger.info(text, step, engine.steps, loss, rate, left // 60, left % 60)


def peak_memory(device: torch.device) -> float:
    """Return the largest memory in use so far, in MiB: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
