"""What a comparison found: a row per method, its difference to the supervised twin, and words.

The score of a method is that of the network that it deploys, at its last step. A seed's score is the
mean over patients; mean and standard deviation of a row are those over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

from medsemi.comparison.jobs import TWIN
from medsemi.comparison.records import Record
from medsemi.comparison.stage_runs import METRICS, MISSED
from medsemi.evaluation.statistics import (
    Difference,
    Ranking,
    compare,
    holm,
    patient_means,
    rank_methods,
    seed_means,
)

# seed -> case -> value
Values = dict[int, dict[str, float]]
ALL_CLASSES = ""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; `sd` is NaN for one seed."""

    mean: float
    sd: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of one value per seed; NaN without any."""
        if not values:
            return Spread(math.nan, math.nan)
        return Spread(mean(values), stdev(values) if len(values) > 1 else math.nan)


@dataclass(frozen=True)
class NetworkRow:
    """Scores of one network of a method.

    Attributes:
        method: whose network.
        network: its name.
        structure: class, or `ALL_CLASSES` for the mean of the classes of each case.
        scores: metric -> spread over seeds.
    """

    method: str
    network: str
    structure: str
    scores: Mapping[str, Spread]


@dataclass(frozen=True)
class MethodRow:
    """One method of the table.

    Attributes:
        method: its name.
        seeds: of its trainings.
        network: that is deployed.
        scores: metric -> spread over seeds.
        missed: structures of all cases that the network did not find; NaN if unknown.
        steps: student steps.
        seconds: of training; NaN if unknown.
        memory_mib: peak; NaN if unknown.
        difference: of Dice to the twin; None for the twin itself, or where they share no seed.
        p: of the difference, after Holm.
        ranking: among all methods; None if these share no seeds.
        verdict: whether the unlabeled data helped, in words.
    """

    method: str
    seeds: tuple[int, ...]
    network: str
    scores: Mapping[str, Spread]
    missed: Spread
    steps: Spread
    seconds: Spread
    memory_mib: Spread
    difference: Difference | None
    p: float
    ranking: Ranking | None
    verdict: str


@dataclass(frozen=True)
class Summary:
    """All of a comparison.

    Attributes:
        rows: one per method, the twin first.
        classes: the same scores by class, where there are several.
        others: networks that are not deployed.
        patients: how many were scored.
        cases: how many.
    """

    rows: tuple[MethodRow, ...]
    classes: tuple[NetworkRow, ...] = field(default=())
    others: tuple[NetworkRow, ...] = field(default=())
    patients: int = 0
    cases: int = 0


def summarize(records: Sequence[Record], role: str, patients: Mapping[str, str]) -> Summary:
    """Summarize the arms that have scores of a role.

    Args:
        records: of arms with the same split and configuration.
        role: `validation` or `test`.
        patients: case -> patient.
    """
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.method != TWIN, r.method, r.seed)):
        if role in record.scores:
            groups.setdefault(record.method, []).append(record)
    dice = {method: values(group, role, "dice") for method, group in groups.items()}
    differences = {
        method: compare(dice[method], dice[TWIN], patients)
        for method in groups
        if method != TWIN and set(dice[method]) & set(dice.get(TWIN, {}))
    }
    adjusted = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
    rankings = _rankings(dice, patients)
    rows = [
        _row(group, role, patients, differences.get(method), adjusted.get(method, math.nan),
             rankings.get(method))
        for method, group in groups.items()
    ]  # fmt: skip
    cases = {case for table in dice.values() for by_case in table.values() for case in by_case}
    return Summary(
        tuple(rows),
        tuple(_class_rows(groups, role, patients)),
        tuple(_other_rows(groups, role, patients)),
        len({patients[case] for case in cases}),
        len(cases),
    )


def values(
    records: Sequence[Record],
    role: str,
    metric: str,
    network: str | None = None,
    structure: str = ALL_CLASSES,
) -> Values:
    """Scores of one network of a method by seed and case; NaN where a distance is not defined.

    Args:
        records: the trainings of one method.
        role: `validation` or `test`.
        metric: one of `METRICS`.
        network: None is the deployed one.
        structure: a class, or `ALL_CLASSES` for the mean of those of the case that are defined.
    """
    table: Values = {}
    for record in records:
        scored = record.scores[role].get(network or record.deployed, {})
        if scored:
            table[record.seed] = {
                case: _value(classes, metric, structure) for case, classes in scored.items()
            }
    return table


_LEVEL = 0.05  # of the test, that of the intervals


def verdict(difference: Difference | None, p: float) -> str:
    """Answer in words whether the unlabeled data helped.

    Args:
        difference: of Dice, method minus twin.
        p: of the difference, after Holm.
    """
    if difference is None:
        return "Cannot be told: no seed was trained both with and without the unlabeled data."
    shown = _shown(difference, p)
    if difference.proven:
        answer = "Yes" if difference.mean > 0 else "No, it did harm"
        text = f"{shown}, and more than the seeds differ among themselves"
        if p < _LEVEL:
            return f"{answer}: {text}."
        return f"{answer}, taken alone: {text}; among all the methods shown it may be chance."
    if difference.seeds < 2:
        return f"Not shown: {shown}; with one seed the luck of a training cannot be told apart."
    if math.isnan(difference.interval[0]):
        return f"Not shown: {shown}; there are too few patients for an interval."
    low, high = difference.interval
    if low <= 0 <= high:
        return f"Not shown: {shown}; the interval holds 0."
    return f"Not shown: {shown}; but the seeds differ by as much (SD {difference.seed_sd:.3f})."


def _shown(difference: Difference, p: float) -> str:
    low, high = difference.interval
    interval = "" if math.isnan(low) else f" (95 % interval {low:+.3f} to {high:+.3f})"
    return (
        f"Dice {difference.mean:+.3f} against the supervised twin{interval},"
        f" p {probability(p, '= ')} after Holm, {difference.better} of {difference.patients} patients gain,"
        f" {difference.seeds} {'seed' if difference.seeds == 1 else 'seeds'}"
    )


def probability(p: float, equals: str = "") -> str:
    """A probability as text; one that three digits would make 0 is below 0.001."""
    return "< 0.001" if p < 0.0005 else f"{equals}{p:.3f}"


def _row(
    group: Sequence[Record],
    role: str,
    patients: Mapping[str, str],
    difference: Difference | None,
    p: float,
    ranking: Ranking | None,
) -> MethodRow:
    method = group[0].method
    words = "The baseline: it never sees the unlabeled data."
    return MethodRow(
        method=method,
        seeds=tuple(record.seed for record in group),
        network=group[0].deployed,
        scores={m: _spread(values(group, role, m), patients) for m in METRICS},
        missed=Spread.of([n for n in (_missed(record, role) for record in group) if n is not None]),
        steps=Spread.of([record.steps for record in group]),
        seconds=Spread.of([r.seconds for r in group if r.seconds is not None]),
        memory_mib=Spread.of([r.memory_mib for r in group if r.memory_mib is not None]),
        difference=difference,
        p=p,
        ranking=ranking,
        verdict=words if method == TWIN else verdict(difference, p),
    )


def _missed(record: Record, role: str) -> float | None:
    cases = record.scores[role].get(record.deployed, {}).values()
    counts = [scores.get(MISSED) for classes in cases for scores in classes.values()]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _class_rows(
    groups: Mapping[str, Sequence[Record]], role: str, patients: Mapping[str, str]
) -> list[NetworkRow]:
    rows = []
    for method, group in groups.items():
        names = _structures(group, role)
        for structure in names if len(names) > 1 else ():
            scores = {
                m: _spread(values(group, role, m, structure=structure), patients) for m in METRICS
            }
            rows.append(NetworkRow(method, group[0].deployed, structure, scores))
    return rows


def _other_rows(
    groups: Mapping[str, Sequence[Record]], role: str, patients: Mapping[str, str]
) -> list[NetworkRow]:
    rows = []
    for method, group in groups.items():
        for network in group[0].scores[role]:
            if network != group[0].deployed:
                scores = {m: _spread(values(group, role, m, network), patients) for m in METRICS}
                rows.append(NetworkRow(method, network, ALL_CLASSES, scores))
    return rows


def _structures(group: Sequence[Record], role: str) -> list[str]:
    cases = group[0].scores[role][group[0].deployed]
    return list(next(iter(cases.values()), {}))


def _spread(table: Values, patients: Mapping[str, str]) -> Spread:
    if not table:
        return Spread.of([])
    return Spread.of([value for value in seed_means(table, patients) if not math.isnan(value)])


def _rankings(dice: Mapping[str, Values], patients: Mapping[str, str]) -> dict[str, Ranking]:
    """Ranks over the seeds that all methods have; none if there is no such seed."""
    seeds = sorted(set.intersection(*(set(table) for table in dice.values()))) if dice else []
    if not seeds or len(dice) < 2:
        return {}
    tables = {
        method: patient_means({seed: table[seed] for seed in seeds}, patients)
        for method, table in dice.items()
    }
    if len({tuple(names) for names, _ in tables.values()}) > 1:
        return {}
    return rank_methods({method: table for method, (_, table) in tables.items()})


def _value(classes: Mapping[str, Mapping[str, float | None]], metric: str, structure: str) -> float:
    chosen = classes.values() if structure == ALL_CLASSES else [classes.get(structure, {})]
    defined = [v for v in (scores.get(metric) for scores in chosen) if v is not None]
    return mean(defined) if defined else math.nan
