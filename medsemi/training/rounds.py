"""Self-training in rounds: train, label the unlabeled cases, keep the stable labels, train again.

Each round is a training of its own, in a folder of its own, from the same start; its run is a
child of one parent run. Whatever is finished is not done again, so that the whole can be killed
and started again at any moment.

Source: Yang et al., ST++ (CVPR 2022), algorithm 2; stability is the agreement of networks of one
training, see `medsemi.training.pseudo_labeling`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from medsemi.data.manifest import MANIFEST_TAG, Manifest, load_manifest
from medsemi.data.rounds import MADE, PseudoLabel, keep_stable, make_round, read_pseudo_labels
from medsemi.errors import MedsemiError
from medsemi.training.provenance import PARENT_VARIABLE
from medsemi.training.tracking import Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rounds:
    """What is run in each round, and with which data the first one begins.

    Attributes:
        bundle: folder of the bundle.
        stages: names of its configurations that make up one training, in order.
        overlays: further configuration files.
        dataset_dir: where the paths of the manifest start.
        manifest: the split with the true labels.
        output_dir: gets `round_0`, `round_1`, ... and the parent run.
        keep: share of the unlabeled patients whose labels are kept after each round; its length is
            the number of rounds beyond the first.
        overrides: further values of the bundle for each stage and for `pseudo_label`, by path.
    """

    bundle: Path
    stages: Sequence[str]
    overlays: Sequence[Path]
    dataset_dir: Path
    manifest: Path
    output_dir: Path
    keep: Sequence[float]
    overrides: Mapping[str, Mapping[str, str]]

    def folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.output_dir / f"round_{number}"


def run_rounds(rounds: Rounds, tracker: Tracker) -> Path:
    """Run what is missing of all rounds.

    Args:
        rounds: what to run.
        tracker: of the parent run.

    Returns:
        The run folder of the last training.

    Raises:
        MedsemiError: if a stage fails, or the folder holds rounds of other settings.
    """
    _refuse_other_rounds(tracker)
    tracker.start(-1)  # what earlier rounds found is told again
    parent = _parent_run(tracker.folder, tracker.target.patience)
    manifest, dataset_dir, path = (
        load_manifest(rounds.manifest),
        rounds.dataset_dir,
        rounds.manifest,
    )
    try:
        for number in range(len(rounds.keep) + 1):
            _train(rounds, number, dataset_dir, path, parent)
            values = _validation(rounds.folder(number) / rounds.stages[-1])
            if number < len(rounds.keep):
                kept, all_labels = _label(rounds, number, manifest, parent)
                values |= _told(kept, all_labels)
                following = rounds.folder(number + 1)
                _next_round(rounds, number, manifest, kept)
                dataset_dir, path = following / "dataset", following / "manifest.json"
            tracker.log(values, number)
            tracker.flush()
    except BaseException as error:
        asked = isinstance(error, (KeyboardInterrupt, SystemExit))
        tracker.finish("KILLED" if asked else "FAILED")
        raise
    tracker.finish("FINISHED")
    return rounds.folder(len(rounds.keep)) / rounds.stages[-1]


def _train(rounds: Rounds, number: int, dataset_dir: Path, manifest: Path, parent: str) -> None:
    for stage in rounds.stages:
        # The bundle is the last thing that a training writes; a pre-training leaves its weights.
        last = "bundle" if stage == rounds.stages[-1] else "model.pt"
        if not (rounds.folder(number) / stage / last).exists():
            logger.info("round %d: %s", number, stage)
            _run(rounds, number, stage, dataset_dir, manifest, parent)


def _label(
    rounds: Rounds, number: int, manifest: Manifest, parent: str
) -> tuple[list[PseudoLabel], list[PseudoLabel]]:
    """Label all cases that have no true label, whatever an earlier round kept of them."""
    labels_dir = rounds.folder(number) / "pseudo_label"
    labels = read_pseudo_labels(labels_dir)
    if len(labels) < len(manifest.unlabeled):
        logger.info("round %d: label %d cases", number, len(manifest.unlabeled))
        place = rounds.dataset_dir, rounds.manifest
        _run(rounds, number, "pseudo_label", *place, parent, ("--labeler", rounds.stages[-1]))
        labels = read_pseudo_labels(labels_dir)
    patients = {case.case_id: case.patient for case in manifest.unlabeled}
    kept = keep_stable(labels, rounds.keep[number], patients)
    if not kept:
        raise MedsemiError(
            f"No label in {labels_dir} is stable enough to be kept: train longer, or with more"
            " labeled cases."
        )
    return kept, labels


def _next_round(
    rounds: Rounds, number: int, manifest: Manifest, kept: Sequence[PseudoLabel]
) -> None:
    following = rounds.folder(number + 1)
    if not (following / "manifest.json").is_file():
        labels_dir = rounds.folder(number) / "pseudo_label" / MADE
        name = f"{manifest.name}_round_{number + 1}"
        make_round(manifest, rounds.dataset_dir, kept, labels_dir, following, name)


def _run(
    rounds: Rounds,
    number: int,
    stage: str,
    dataset_dir: Path,
    manifest: Path,
    parent: str,
    options: Sequence[str] = (),
) -> None:
    """Run one stage of the bundle as a process of its own."""
    configs = rounds.bundle / "configs"
    files = [configs / "common.yaml", configs / f"{stage}.yaml", *rounds.overlays]
    values = {
        "bundle_root": rounds.bundle,
        "dataset_dir": dataset_dir,
        "manifest": manifest,
        "output_dir": rounds.folder(number),
        **rounds.overrides[stage],
    }
    given = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    listed = ["--config_file", str([str(path) for path in files])]
    command = [sys.executable, "-m", "monai.bundle", "run", *listed, *given, *options]
    code = subprocess.run(
        command, check=False, env={**os.environ, PARENT_VARIABLE: parent}
    ).returncode
    if code:
        raise MedsemiError(f"Round {number} ended in {stage} (exit code {code}); see above.")


def _refuse_other_rounds(tracker: Tracker) -> None:
    record = tracker.folder / "run.json"
    if record.is_file():
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        before = {**known["parameters"], MANIFEST_TAG: known["tags"].get(MANIFEST_TAG)}
        now = {**tracker.parameters, MANIFEST_TAG: tracker.tags.get(MANIFEST_TAG)}
        differing = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if differing:
            raise MedsemiError(
                f"{tracker.folder} belongs to other rounds ({', '.join(differing)} differ); take another"
                " output_dir or set them back."
            )


def _parent_run(folder: Path, seconds: float) -> str:
    """The identity that MLflow gave the parent run; empty if it does not answer in time."""
    record, end = folder / "run.json", time.monotonic() + seconds
    while time.monotonic() < end:
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if known.get("run_id"):
            return str(known["run_id"])
        time.sleep(0.1)
    return ""


def _validation(stage_dir: Path) -> dict[str, float]:
    """Dice of each network in the last validation of a training; empty if there was none."""
    summaries = sorted(stage_dir.glob("validation/step_*/summary.json"))
    if not summaries:
        return {}
    networks = json.loads(summaries[-1].read_text(encoding="utf-8"))["networks"]
    return {
        f"val/dice_{name}": summary["overall"]["metrics"]["dice"]["mean"]
        for name, summary in networks.items()
    }


def _told(kept: Sequence[PseudoLabel], labels: Sequence[PseudoLabel]) -> dict[str, float]:
    return {
        "kept": float(len(kept)),
        "stability_of_kept": mean(label.stability for label in kept),
        "stability_of_all": mean(label.stability for label in labels),
    }
