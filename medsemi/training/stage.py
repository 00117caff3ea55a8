"""Evaluation as a stage of a training: scored, written, tracked."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from medsemi.data.manifest import MANIFEST_TAG
from medsemi.data.streams import StepStream
from medsemi.data.volumes import Volume
from medsemi.errors import ConfigError
from medsemi.evaluation.evaluate import (
    Inference,
    References,
    decide,
    evaluate_cases,
    refuse_unscorable,
    segmenter,
)
from medsemi.evaluation.metrics import ScoreSummary
from medsemi.methods.method import Method
from medsemi.parts.components import largest_component
from medsemi.training.checkpoint import load_weights
from medsemi.training.devices import checked_device
from medsemi.training.exported import load_exported
from medsemi.training.extremes import draw_extremes
from medsemi.training.occupancy import occupied
from medsemi.training.recalibration import recalibrated
from medsemi.training.reference_grid import decide_on_reference
from medsemi.training.tracking import Tracker
from medsemi.training.trainer import amp_type

logger = logging.getLogger(__name__)

_SCORES = ("cases.csv", "summary.json")


class EvaluationStage:
    """Scores the exported networks of a finished training."""

    def __init__(
        self,
        *,
        network: nn.Module,
        weights_dir: str | Path,
        volumes: Sequence[Volume],
        inference: Inference,
        classes: Mapping[int, str],
        output_dir: str | Path,
        device: torch.device | str,
        tracker: Tracker,
        amp: str = "none",
        component_filter: bool = False,
        connectivity: int | None = None,
        recalibration: StepStream | None = None,
        recalibration_steps: int = 0,
        extra_metrics: Sequence[str] = (),
        patients: Mapping[str, str] | None = None,
        method: Method | None = None,
        networks: Mapping[str, nn.Module] | None = None,
        recalibrated_networks: Sequence[str] = ("student",),
        references: Sequence[Volume] | None = None,
    ) -> None:
        """Remember what is scored.

        Args:
            network: the architecture; its weights do not matter.
            weights_dir: the run folder of a training; every network that it exported is scored.
            volumes: with labels.
            inference: as for `evaluate_cases`.
            classes: name of each label; 0 is the background.
            output_dir: where tables go.
            device: where networks run.
            tracker: told of the scores.
            amp: `none`, `bf16` or `fp16`.
            component_filter: keep the largest component of each class.
            connectivity: of the components, see `largest_component`.
            recalibration: unmixed training windows for batch-norm statistics.
            recalibration_steps: batches of them; 0 does not recalibrate.
            extra_metrics: names of further metrics, as `extra` of `evaluate_cases`.
            method: what was trained; its own networks are scored, whatever their architecture, and
                the tag `medsemi.deployed` names the one that it deploys. None scores all that were
                exported, with the architecture of `network` or that of `networks`.
            networks: by name, the architecture of those that have another one than `network`, such
                as students that see views.
            recalibrated_networks: which of the networks are recalibrated.
            patients: as for `evaluate_cases`.
            references: the same cases on the grids of their files, see `VolumeStore.references`;
                None scores on the grids of `volumes`.
        """
        self.network, self.weights_dir, self.volumes = network, Path(weights_dir), list(volumes)
        self.inference, self.classes, self.output_dir = inference, dict(classes), Path(output_dir)
        self.device, self.tracker = checked_device(device), tracker
        self.amp_type = amp_type(amp, self.device)
        self.postprocess = (
            partial(largest_component, connectivity=connectivity) if component_filter else None
        )
        self.recalibration = recalibration if recalibration_steps else None
        self.recalibration_steps = recalibration_steps
        self.extra_metrics, self.patients = tuple(extra_metrics), patients
        self.references = (
            References(self.volumes, decide)
            if references is None
            else References(list(references), decide_on_reference)
        )
        self.method, self.special = method, dict(networks or {})
        self.recalibrated_networks = tuple(recalibrated_networks)

    def run(self) -> dict[str, ScoreSummary]:
        """Score all exported networks, write `cases.csv` and `summary.json`, and tell MLflow.

        Raises:
            CheckpointError: if the training is not finished.
            ConfigError: if the folder holds the scores of another manifest, which would be lost, or
                there is no such metric.
            DataError: if there is no case, or one has no label or does not fit it.
            MedsemiError: if another process works in the folder.
        """
        with occupied(self.output_dir):
            return self._run()

    def _run(self) -> dict[str, ScoreSummary]:
        self._refuse_other_scores()
        networks = self._networks()
        refuse_unscorable(self.references.volumes, self.extra_metrics)
        self._remove_scores()
        self.tracker.start(-1, self.device)  # an evaluation begins anew, with other scores
        try:
            summaries = evaluate_cases(
                networks,
                self.volumes,
                self.inference,
                self.classes,
                self.output_dir,
                self.device,
                self.amp_type,
                self.postprocess,
                self.extra_metrics,
                self.patients,
                self.references,
            )
            for name, summary in summaries.items():
                self._report(name, summary)
            self._draw(networks)
        except BaseException:
            self.tracker.finish("FAILED")
            raise
        self.tracker.finish("FINISHED")
        return summaries

    def _refuse_other_scores(self) -> None:
        record = self.output_dir / "run.json"
        if record.is_file():
            tags = json.loads(record.read_text(encoding="utf-8"))["tags"]
            before, now = tags.get(MANIFEST_TAG), self.tracker.tags.get(MANIFEST_TAG)
            if before != now:
                raise ConfigError(
                    f"{self.output_dir} holds the scores of another manifest; give another"
                    " --results_dir, or the manifest of those."
                )

    def _remove_scores(self) -> None:
        """Those of an earlier evaluation would stand under the record of this one if it fails."""
        shutil.rmtree(self.output_dir / "extremes", ignore_errors=True)
        for name in _SCORES:
            (self.output_dir / name).unlink(missing_ok=True)

    def _networks(self) -> dict[str, nn.Module]:
        if self.method is None:
            networks = load_exported(self.weights_dir, self.network, self.special, self.device)
        else:
            networks = self._networks_of(self.method)
        if self.recalibration is not None:
            for name in self.recalibrated_networks:
                if name not in networks:
                    raise ConfigError(
                        f"recalibration_steps is {self.recalibration_steps} and the training has no"
                        f" network {name}; set it to 0, or name one of {', '.join(networks)} in"
                        " recalibrated_networks."
                    )
                batches = map(self.recalibration.__getitem__, range(self.recalibration_steps))
                result = recalibrated(networks[name], batches, self.device)
                networks[f"{name}_recalibrated"] = result
        return networks

    def _draw(self, networks: Mapping[str, nn.Module]) -> None:
        """Draw the best, the median and the worst case of the deployed network, where it is known."""
        name = self.tracker.tags.get("medsemi.deployed")
        if name is None:
            return
        how = self.inference, self.device, self.amp_type, self.postprocess, len(self.classes)
        segment = segmenter(*how, self.references.decide)
        drawn = self.output_dir, self.volumes, self.references.volumes, (name, networks[name])
        for path in draw_extremes(*drawn, segment):
            self.tracker.log_file(path, "extremes")

    def _networks_of(self, method: Method) -> dict[str, nn.Module]:
        networks = {
            name: load_weights(network, self.weights_dir / f"{name}.pt").to(self.device)
            for name, network in method.networks.items()
        }
        deployed = method.inference_network
        name = next(name for name, network in networks.items() if network is deployed)
        average = self.weights_dir / "average.pt"
        if average.is_file():
            name, networks["average"] = "average", load_weights(copy.deepcopy(deployed), average)
            networks["average"].to(self.device)
        self.tracker.tags["medsemi.deployed"] = name
        return networks

    def _report(self, name: str, summary: ScoreSummary) -> None:
        means = {metric: value.mean for metric, value in summary.overall.metrics.items()}
        values = {f"{metric}_{name}": v for metric, v in means.items() if v is not None}
        values[f"missed_{name}"] = float(summary.overall.missed)
        self.tracker.log(values, 0)
        text = "%s: Dice %s, HD95 %s mm, ASSD %s mm, %d missed; tables in %s"
        formats = {"dice": ".4f", "hd95_mm": ".2f", "assd_mm": ".2f"}
        # Where no case has the structure, there is no distance.
        shown = ["–" if means[m] is None else format(means[m], f) for m, f in formats.items()]
        logger.info(text, name, *shown, summary.overall.missed, self.output_dir)
