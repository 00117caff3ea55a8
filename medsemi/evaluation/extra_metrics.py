"""Metrics for special structures, which an evaluation computes only where it is asked by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsemi.errors import ConfigError
from medsemi.evaluation.canals import pooled_sensitivity, score_tooth
from medsemi.evaluation.centerline import centerline_dice
from medsemi.evaluation.surfaces import TOLERANCE_MM, surface_dice, volume_error

Score = Callable[
    [npt.NDArray[np.generic], npt.NDArray[np.generic], Sequence[float]], Mapping[str, float]
]


@dataclass(frozen=True)
class ExtraMetric:
    """A group of numbers of one structure.

    Attributes:
        score: takes prediction, reference and spacing in mm, returns the numbers by name; NaN is
            left out of means.
        convention: how the numbers are to be read.
        pooled: numbers over all cases together, where a mean over cases is not enough.
    """

    score: Score
    convention: str
    pooled: Callable[[Sequence[Mapping[str, float]]], Mapping[str, float]] | None = None


def _centerline(
    prediction: npt.NDArray[np.generic],
    reference: npt.NDArray[np.generic],
    spacing: Sequence[float],
) -> dict[str, float]:
    return {"centerline_dice": centerline_dice(prediction, reference, spacing)}


EXTRA_METRICS: Mapping[str, ExtraMetric] = {
    "centerline_dice": ExtraMetric(
        _centerline, "clDice on cubic voxels; 1 if both are empty, 0 if one is"
    ),
    "canals": ExtraMetric(
        score_tooth,
        "one tooth a case; a canal is at least 2 mm long, found with 50 % and followed with 90 % of"
        " its center line within 0.3 mm of the prediction; breaks are gaps above 0.5 mm",
        pooled_sensitivity,
    ),
    "surface_dice": ExtraMetric(
        surface_dice,
        f"share of both surfaces within {TOLERANCE_MM:g} mm of the other; 1 if both are empty, 0 if one is",
    ),
    "volume_error": ExtraMetric(
        volume_error,
        "predicted minus true, in ml; its size by the true volume, which must be there",
    ),
}


def extra_metrics(names: Sequence[str]) -> dict[str, ExtraMetric]:
    """Return the metrics of these names.

    Raises:
        ConfigError: a name is unknown.
    """
    unknown = [name for name in names if name not in EXTRA_METRICS]
    if unknown:
        raise ConfigError(
            f"extra_metrics has {unknown[0]!r}; known are {', '.join(sorted(EXTRA_METRICS))}."
        )
    return {name: EXTRA_METRICS[name] for name in names}


def score_extra(
    asked: Mapping[str, ExtraMetric],
    prediction: npt.NDArray[np.integer],
    reference: npt.NDArray[np.integer],
    classes: Mapping[int, str],
    spacing: Sequence[float],
) -> dict[str, dict[str, float]]:
    """Score every class of one case but the background.

    Args:
        asked: from `extra_metrics`.
        prediction: labels (*space).
        reference: labels (*space).
        classes: name of each label; label 0 is the background.
        spacing: voxel edges in mm.

    Returns:
        The numbers of each class by their names; empty if no metric was asked for.
    """
    found: dict[str, dict[str, float]] = {}
    for label, structure in classes.items():
        for metric in asked.values() if label else ():
            numbers = metric.score(prediction == label, reference == label, spacing)
            found.setdefault(structure, {}).update(numbers)
    return found


def pool_extra(
    asked: Mapping[str, ExtraMetric],
    numbers: Sequence[tuple[str, str, Mapping[str, float]]],
) -> dict[str, dict[str, object]]:
    """How each metric is to be read, and its numbers over all cases together.

    Args:
        asked: from `extra_metrics`.
        numbers: network, class and numbers of each case.

    Returns:
        By metric: `convention`, and where it pools, `networks` with network, class and numbers;
        None stands for what is not defined.
    """
    content: dict[str, dict[str, object]] = {}
    for name, metric in asked.items():
        content[name] = {"convention": metric.convention}
        if metric.pooled is None:
            continue
        groups: dict[str, dict[str, list[Mapping[str, float]]]] = {}
        for network, structure, values in numbers:
            groups.setdefault(network, {}).setdefault(structure, []).append(values)
        content[name]["networks"] = {
            network: {key: _strict(metric.pooled(cases)) for key, cases in classes.items()}
            for network, classes in groups.items()
        }
    return content


def _strict(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}
