"""Scoring networks on labeled cases: a row per case, network and class, and a summary."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from medsemi.atomic import write_atomically
from medsemi.errors import CheckpointError, ConfigError, DataError
from medsemi.evaluation.extra_metrics import ExtraMetric, extra_metrics, pool_extra, score_extra
from medsemi.evaluation.metrics import (
    ScoreSummary,
    StructureScore,
    score_case,
    summarize,
    summarize_patients,
)
from medsemi.evaluation.protocol import labels_from
from medsemi.parts.modes import evaluated

Inference = Callable[[Tensor, nn.Module], Tensor]
Postprocess = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_SCORES = tuple(field.name for field in fields(StructureScore) if field.name != "extra")
_COLUMNS = ("case_id", "network", "class", *_SCORES, "seconds")
_CONVENTIONS = {
    "hd95": "95th percentile of the surface distances of both directions, pooled",
    "asd": "mean distance from the surface of the prediction to that of the reference",
    "assd": "mean of the surface distances of both directions, pooled",
    "mm and voxel": "with the spacing of the case, and with every voxel edge counted as 1",
    "missed and false_alarms": "Dice 0, distances are the diagonal of the volume",
    "absent": "in prediction and reference; Dice 1, left out of distances",
    "overall": "over cases, after the classes of each case were averaged",
    "patients": "as networks, but over patients: the cases of each patient were averaged first",
    "sd": "sample standard deviation over cases",
}
_SAME_GRID = "of the files, up to orientation: nothing was resampled"
_OTHER_GRID = "of the files, up to orientation: logits were interpolated to it, then decided"


class LabeledVolume(Protocol):
    """What evaluation needs of a case; `medsemi.data.volumes.Volume` has it."""

    @property
    def case_id(self) -> str:
        """Name of the case."""

    @property
    def image(self) -> NDArray[np.float32]:
        """Intensities, (channels, *space)."""

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """Reference labels, (*space)."""

    @property
    def spacing(self) -> Sequence[float]:
        """Edge of a voxel along each axis, in mm."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel indices to mm; read where references have another grid."""


def decide(
    probabilities: Tensor,
    volume: LabeledVolume,
    reference: LabeledVolume,
) -> NDArray[np.uint8]:
    """The labels of a volume whose reference has the same grid.

    Args:
        probabilities: (1, classes, *space) of the volume.
        volume: what was segmented.
        reference: what it is compared with.

    Returns:
        Labels, (*space) of the reference.
    """
    labels: NDArray[np.uint8] = labels_from(probabilities)[0].cpu().numpy()
    return labels


Decision = Callable[[Tensor, LabeledVolume, LabeledVolume], NDArray[np.uint8]]


@dataclass(frozen=True)
class References:
    """What volumes are compared with where that has another grid.

    Attributes:
        volumes: the same cases in the same order, with labels.
        decide: the labels on the grid of a reference, from the probabilities of its volume.
    """

    volumes: Sequence[LabeledVolume]
    decide: Decision


@dataclass(frozen=True)
class CaseScore:
    """The scores of one network on one case.

    Attributes:
        case_id: name of the case.
        network: name of the network.
        structures: score of each class, by its name.
        seconds: time of the inference, from the image in memory to the labels in memory.
    """

    case_id: str
    network: str
    structures: Mapping[str, StructureScore]
    seconds: float


def evaluate_cases(
    networks: Mapping[str, nn.Module],
    volumes: Sequence[LabeledVolume],
    inference: Inference,
    classes: Mapping[int, str],
    output_dir: str | Path,
    device: str | torch.device,
    amp_dtype: torch.dtype | None = None,
    postprocess: Postprocess | None = None,
    extra: Sequence[str] = (),
    patients: Mapping[str, str] | None = None,
    references: References | None = None,
) -> dict[str, ScoreSummary]:
    """Segment and score every volume with every network.

    Writes `cases.csv` (a row per case, network and class; cells of undefined distances are empty)
    and `summary.json` into `output_dir`, each whole or not at all.

    Args:
        networks: by the name that the tables show; their train or eval mode is left as it was.
        volumes: labeled cases.
        inference: takes images (1, channels, *space) and a network, returns class probabilities
            (1, classes, *space).
        classes: name of each label; label 0 is the background.
        output_dir: the folder for the two files.
        device: where the networks run; they are moved there.
        amp_dtype: precision of autocast; None for none.
        postprocess: changes predicted labels (*space) before they are scored, for instance by
            keeping the largest component.
        extra: names of further metrics, see `extra_metrics`; their numbers become columns of the
            table and metrics of the summary.
        patients: case -> patient; the summary then also tells means over patients, whose cases (such
            as two phases of a heart) are averaged first. None takes every case as a patient.
        references: what the volumes are compared with; None takes their own labels.

    Returns:
        The summary of each network.

    Raises:
        ConfigError: if a name in `extra` is unknown, or a network tells other classes.
        DataError: if there is no volume, or one has no label or does not fit its label.
        CheckpointError: if a network gives values that are not finite.
    """
    references = References(volumes, decide) if references is None else references
    refuse_unscorable(references.volumes, extra)
    asked = extra_metrics(extra)
    how = inference, torch.device(device), amp_dtype, postprocess
    segment = segmenter(*how, len(classes), references.decide)
    pairs = zip(volumes, references.volumes, strict=True)
    console = Console(stderr=True)
    scores: list[CaseScore] = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluate", total=len(volumes) * len(networks))
        for pair in pairs:
            for name, network in networks.items():
                scores.append(_score(*pair, name, network, segment, classes, asked))
                progress.advance(task)
    summaries = {
        name: summarize([score.structures for score in scores if score.network == name])
        for name in networks
    }
    numbers = [
        (score.network, structure, values.extra)
        for score in scores
        for structure, values in score.structures.items()
    ]
    grid = _SAME_GRID if references.decide is decide else _OTHER_GRID
    further: dict[str, object] = {"conventions": {**_CONVENTIONS, "grid": grid}}
    if asked:
        further["extra_metrics"] = pool_extra(asked, numbers)
    if patients:
        further["patients"] = {
            name: asdict(summarize_patients(_by_patient(scores, name, patients)))
            for name in networks
        }
    _write_cases(Path(output_dir) / "cases.csv", scores)
    _write_summary(Path(output_dir) / "summary.json", summaries, classes, len(volumes), further)
    return summaries


def refuse_unscorable(references: Sequence[LabeledVolume], extra: Sequence[str]) -> None:
    """Refuse what `evaluate_cases` cannot score, before anything of an earlier evaluation is lost.

    Args:
        references: what volumes are compared with.
        extra: names of further metrics.

    Raises:
        ConfigError: if a name in `extra` is unknown.
        DataError: if there is no volume, or one has no label.
    """
    if not references:
        raise DataError("There is no case to evaluate; list labeled cases in the manifest.")
    for reference in references:
        if reference.label is None:
            raise DataError(f"{reference.case_id} has no label; evaluate labeled cases only.")
    extra_metrics(extra)


def _by_patient(
    scores: Sequence[CaseScore], network: str, patients: Mapping[str, str]
) -> list[list[Mapping[str, StructureScore]]]:
    grouped: dict[str, list[Mapping[str, StructureScore]]] = {}
    for score in scores:
        if score.network == network:
            patient = patients.get(score.case_id, score.case_id)
            grouped.setdefault(patient, []).append(score.structures)
    return list(grouped.values())


Segment = Callable[[LabeledVolume, LabeledVolume, nn.Module], NDArray[np.uint8]]


def segmenter(
    inference: Inference,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    postprocess: Postprocess | None,
    classes: int,
    decision: Decision = decide,
) -> Segment:
    """Return what gives the labels that are scored, from a volume, its reference and a network.

    Args:
        inference: as for `evaluate_cases`, as are `amp_dtype` and `postprocess`.
        device: where networks run; they are moved there.
        amp_dtype: of autocast.
        postprocess: of the labels.
        classes: that a network must tell, with the background.
        decision: see `References`.
    """

    def segment(
        volume: LabeledVolume, reference: LabeledVolume, network: nn.Module
    ) -> NDArray[np.uint8]:
        # A copy, because torch warns about memory maps that cannot be written to.
        inputs = torch.from_numpy(np.array(volume.image, dtype=np.float32))[None].to(device)
        autocast = torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None)
        with torch.inference_mode(), autocast, evaluated(network.to(device)):
            probabilities = inference(inputs, network)
        # One number is enough: NaN and infinity do not vanish from a sum.
        if not torch.isfinite(probabilities.sum()):
            raise FloatingPointError
        if probabilities.shape[1] != classes:
            msg = f"The network tells {probabilities.shape[1]} classes and the manifest {classes}, with the"
            raise ConfigError(f"{msg} background; give the manifest of its training.")
        labels = decision(probabilities, volume, reference)
        return labels if postprocess is None else postprocess(labels)

    return segment


def _score(
    volume: LabeledVolume,
    reference: LabeledVolume,
    name: str,
    network: nn.Module,
    segment: Segment,
    classes: Mapping[int, str],
    asked: Mapping[str, ExtraMetric],
) -> CaseScore:
    start = time.perf_counter()
    try:
        prediction = segment(volume, reference, network)
    except FloatingPointError:
        raise CheckpointError(
            f"The {name} network gives values that are not finite for {volume.case_id}; "
            "use an earlier checkpoint, or turn mixed precision off."
        ) from None
    seconds = time.perf_counter() - start
    try:
        compared = prediction, np.asarray(reference.label), classes, reference.spacing
        structures = score_case(*compared)
        further = score_extra(asked, *compared)
        for structure, numbers in further.items():
            structures[structure] = replace(structures[structure], extra=numbers)
    except DataError as error:
        raise DataError(f"{volume.case_id}: {error}") from error
    return CaseScore(volume.case_id, name, structures, seconds)


def _write_cases(path: Path, scores: Sequence[CaseScore]) -> None:
    with (
        write_atomically(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        extra = [name for values in scores[0].structures.values() for name in values.extra]
        extra = list(dict.fromkeys(extra))
        writer.writerow([*_COLUMNS, *extra])
        for score in scores:
            for structure, values in score.structures.items():
                cells = [_cell(getattr(values, column)) for column in _SCORES]
                seconds = f"{score.seconds:.3f}"
                further = [_cell(values.extra[column]) for column in extra]
                names = score.case_id, score.network, structure
                writer.writerow([*names, *cells, seconds, *further])


def _cell(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if np.isnan(value) else repr(float(value))


def _write_summary(
    path: Path,
    summaries: Mapping[str, ScoreSummary],
    classes: Mapping[int, str],
    cases: int,
    further: Mapping[str, object],
) -> None:
    content = {
        "cases": cases,
        "classes": {str(label): name for label, name in classes.items()},
        "networks": {name: asdict(summary) for name, summary in summaries.items()},
        **further,
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
