"""Overlap and surface distances of one structure, and means that cannot hide a miss.

Distances are given in mm and in voxels (spacing ignored), the unit of the published tables. They
follow the definitions of those tables: the surface is a mask without its erosion by the direct
neighbors, voxels at the border of the volume count as surface, HD95 is the 95th percentile of the
distances of both directions *pooled* (MONAI takes the larger of the two directed percentiles, which
is another number), ASD goes one way from the prediction to the reference, ASSD pools both ways.

A structure that one side lacks has no distance. It counts with the diagonal of the volume, which no
real distance exceeds, and is counted: a missed structure must never improve a mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from medsemi.errors import DataError

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

METRICS = (
    "dice",
    "jaccard",
    "hd95_mm",
    "asd_mm",
    "assd_mm",
    "hd95_voxel",
    "asd_voxel",
    "assd_voxel",
)


@dataclass(frozen=True)
class StructureScore:
    """How well one structure of one case was found.

    Attributes:
        dice: twice the common voxels by the sum of both sizes, in 0..1; 1 if both are empty.
        jaccard: common voxels by voxels of either, in 0..1; 1 if both are empty.
        hd95_mm: 95th percentile of the pooled surface distances, in mm.
        asd_mm: mean distance from the surface of the prediction to that of the reference, in mm.
        assd_mm: mean of the pooled surface distances, in mm.
        hd95_voxel: as `hd95_mm`, every voxel edge counted as 1.
        asd_voxel: as `asd_mm`, every voxel edge counted as 1.
        assd_voxel: as `assd_mm`, every voxel edge counted as 1.
        missed: the reference has the structure, the prediction does not; distances are the diagonal.
        false_alarm: the prediction has it, the reference does not; distances are the diagonal.
        absent: neither has it; distances are NaN and left out of means.
        extra: numbers of metrics that were asked for by name, see `extra_metrics`.
    """

    dice: float
    jaccard: float
    hd95_mm: float
    asd_mm: float
    assd_mm: float
    hd95_voxel: float
    asd_voxel: float
    assd_voxel: float
    missed: bool
    false_alarm: bool
    absent: bool
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation over cases.

    Attributes:
        mean: None if no case has the number.
        sd: None with fewer than two cases.
        cases: how many cases the mean is taken over.
    """

    mean: float | None
    sd: float | None
    cases: int


@dataclass(frozen=True)
class Summary:
    """Statistics of several cases, with the number of structures that one side lacks.

    Attributes:
        metrics: a statistic for each name in `METRICS`, and for each extra number of the cases.
        missed: structures of the reference that were not found; they count with Dice 0.
        false_alarms: structures that the reference does not have; they count with Dice 0.
        absent: structures that neither side has; Dice 1, left out of distances.
    """

    metrics: Mapping[str, Statistic]
    missed: int
    false_alarms: int
    absent: int


@dataclass(frozen=True)
class ScoreSummary:
    """Statistics of each class, and overall.

    Attributes:
        classes: by the name of the class, over cases.
        overall: over cases, after the classes of each case were averaged.
    """

    classes: Mapping[str, Summary]
    overall: Summary


def score_structure(
    prediction: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    spacing: Sequence[float],
) -> StructureScore:
    """Score one structure.

    Args:
        prediction: (*space), nonzero where the structure is predicted.
        reference: (*space), nonzero where it is.
        spacing: edge of a voxel along each axis, in mm.

    Returns:
        Overlap and distances, in mm and in voxels.

    Raises:
        DataError: if the shapes differ or `spacing` does not have a positive value for each axis.
    """
    _check(prediction.shape, reference.shape, spacing)
    predicted, true = prediction.astype(bool), reference.astype(bool)
    has_prediction, has_reference = bool(predicted.any()), bool(true.any())
    if not (has_prediction and has_reference):
        return _one_sided(predicted.shape, spacing, has_prediction, has_reference)
    overlap = int(np.count_nonzero(predicted & true))
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(true))
    (hd95_mm, asd_mm, assd_mm), (hd95_voxel, asd_voxel, assd_voxel) = _distances(
        predicted, true, spacing
    )
    return StructureScore(
        dice=2 * overlap / total,
        jaccard=overlap / (total - overlap),
        hd95_mm=hd95_mm,
        asd_mm=asd_mm,
        assd_mm=assd_mm,
        hd95_voxel=hd95_voxel,
        asd_voxel=asd_voxel,
        assd_voxel=assd_voxel,
        missed=False,
        false_alarm=False,
        absent=False,
    )


def score_case(
    prediction: npt.NDArray[np.integer],
    reference: npt.NDArray[np.integer],
    classes: Mapping[int, str],
    spacing: Sequence[float],
) -> dict[str, StructureScore]:
    """Score every class of one case but the background.

    Args:
        prediction: labels (*space).
        reference: labels (*space).
        classes: name of each label; label 0 is the background.
        spacing: edge of a voxel along each axis, in mm.

    Returns:
        The score of each class, by its name.

    Raises:
        DataError: if the shapes differ or `spacing` does not have a positive value for each axis.
    """
    return {
        name: score_structure(prediction == label, reference == label, spacing)
        for label, name in classes.items()
        if label != 0
    }


def summarize(cases: Sequence[Mapping[str, StructureScore]]) -> ScoreSummary:
    """Mean and standard deviation over cases, for each class and overall.

    Missed structures and false alarms are in every mean, with Dice 0 and the diagonal. Only the
    distances of a structure that neither side has are left out.

    Args:
        cases: the scores of each case by class, as `score_case` returns them.

    Returns:
        Statistics of each class, and of the mean over the classes of each case.
    """
    names = dict.fromkeys(name for case in cases for name in case)
    classes = {name: [[case[name]] for case in cases if name in case] for name in names}
    return ScoreSummary(
        classes={name: _summary(groups) for name, groups in classes.items()},
        overall=_summary([list(case.values()) for case in cases]),
    )


def summarize_patients(
    patients: Sequence[Sequence[Mapping[str, StructureScore]]],
) -> ScoreSummary:
    """As `summarize`, over patients: the cases of each patient are averaged first.

    Two phases of one heart are not independent, so a standard deviation over cases would be too
    small to judge by. Missed structures and false alarms stay counts over cases.

    Args:
        patients: for each patient the scores of the cases, as for `summarize`.
    """
    names = dict.fromkeys(name for cases in patients for case in cases for name in case)
    return ScoreSummary(
        classes={
            name: _summary([[case[name] for case in cases if name in case] for cases in patients])
            for name in names
        },
        overall=_summary(
            [[score for case in cases for score in case.values()] for cases in patients]
        ),
    )


def _summary(cases: list[list[StructureScore]]) -> Summary:
    scores = [score for case in cases for score in case]
    extra = dict.fromkeys(name for score in scores for name in score.extra)
    return Summary(
        metrics={
            metric: _statistic([_mean([_value(s, metric) for s in case]) for case in cases])
            for metric in (*METRICS, *extra)
        },
        missed=sum(score.missed for score in scores),
        false_alarms=sum(score.false_alarm for score in scores),
        absent=sum(score.absent for score in scores),
    )


def _value(score: StructureScore, metric: str) -> float:
    value: float = getattr(score, metric) if metric in METRICS else score.extra[metric]
    return value


def _mean(values: Sequence[float]) -> float:
    """Mean of what is defined; NaN stands only for structures that both sides lack."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _statistic(values: Sequence[float]) -> Statistic:
    defined = [value for value in values if not math.isnan(value)]
    return Statistic(
        mean=_mean(defined) if defined else None,
        sd=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        cases=len(defined),
    )


def _check(
    prediction: tuple[int, ...], reference: tuple[int, ...], spacing: Sequence[float]
) -> None:
    if prediction != reference:
        raise DataError(
            f"The prediction has shape {prediction} and the reference {reference}; "
            "bring both to one grid before scoring."
        )
    if len(spacing) != len(reference) or not all(0 < edge < math.inf for edge in spacing):
        raise DataError(
            f"The spacing is {tuple(spacing)} for a volume of {len(reference)} axes; "
            "give one positive number of mm for each axis."
        )


def _one_sided(
    shape: tuple[int, ...], spacing: Sequence[float], has_prediction: bool, has_reference: bool
) -> StructureScore:
    absent = not (has_prediction or has_reference)
    overlap = 1.0 if absent else 0.0
    unit = [1.0] * len(shape)
    mm, voxel = (
        math.nan
        if absent
        else math.hypot(*(n * edge for n, edge in zip(shape, edges, strict=True)))
        for edges in (spacing, unit)
    )
    return StructureScore(
        dice=overlap,
        jaccard=overlap,
        hd95_mm=mm,
        asd_mm=mm,
        assd_mm=mm,
        hd95_voxel=voxel,
        asd_voxel=voxel,
        assd_voxel=voxel,
        missed=has_reference and not has_prediction,
        false_alarm=has_prediction and not has_reference,
        absent=absent,
    )


def _distances(
    prediction: Mask, reference: Mask, spacing: Sequence[float]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """HD95, ASD and ASSD of two structures that are there, in mm and in voxels."""
    box = _bounding_box(prediction | reference)
    surfaces = _surface(prediction[box]), _surface(reference[box])
    forth, back = _directed(*surfaces, [1.0] * prediction.ndim)
    voxel = _aggregate(forth, back)
    if np.allclose(spacing, spacing[0], rtol=1e-6, atol=0):
        hd95, asd, assd = (spacing[0] * value for value in voxel)
        return (hd95, asd, assd), voxel
    return _aggregate(*_directed(*surfaces, spacing)), voxel


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Slices of the smallest box with all of the mask; distances inside it stay the same."""
    axes = range(mask.ndim)
    occupied = (np.flatnonzero(mask.any(axis=tuple(set(axes) - {axis}))) for axis in axes)
    return tuple(slice(int(where[0]), int(where[-1]) + 1) for where in occupied)


def _surface(mask: Mask) -> Mask:
    inner = binary_erosion(mask, generate_binary_structure(mask.ndim, 1), border_value=0)
    surface: Mask = mask & ~inner
    return surface


def _directed(
    prediction: Mask, reference: Mask, spacing: Sequence[float]
) -> tuple[Distances, Distances]:
    """Distance of each surface voxel to the nearest one of the other surface, both ways."""
    forth = distance_transform_edt(~reference, sampling=spacing)[prediction]
    back = distance_transform_edt(~prediction, sampling=spacing)[reference]
    return forth, back


def _aggregate(forth: Distances, back: Distances) -> tuple[float, float, float]:
    pooled = np.concatenate([forth, back])
    return float(np.percentile(pooled, 95)), float(forth.mean()), float(pooled.mean())
