"""The report of the root-canal ablation, from its records alone.

A patient's value is its mean over seeds; mean, standard deviation and intervals are over patients.
Differences are of the same patients under the same seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.evaluation.statistics import Difference, holm, paired_difference

Record = dict[str, Any]
Values = NDArray[np.float64]
FLOOR, COMPETITOR = "1", "2b"
COMPARED = {"dice": "Dice", "centerline_dice": "clDice", "canals_found": "canals found per tooth"}


def write_report(plan: Mapping[str, Any], scale: str, folder: Path, output: Path) -> None:
    """Write the tables of one scale as Markdown.

    Args:
        plan: the YAML file; rows are told in its order.
        scale: name of the scale.
        folder: the records.
        output: the file that is written.
    """
    records, left_out = current_records(plan, scale, folder)
    lines = [
        "# CFC-Net on root-canal phantoms: the ablation",
        "",
        f"Written by `python benchmarks/root_canal_ablation.py --scale {scale} --report` from the"
        " records in `root_canal_ablation/`; rows and settings are in `root_canal_ablation.yaml`.",
        *setting_lines(plan, scale, records),
        "",
        "## Rows",
        "",
        "The teacher where there is one, else the student, or the network that the row names, as for BCP, which deploys its student; Dice, clDice: mean ± SD over patients."
        " *Seeds*: number of seeds, and SD of their mean Dice. *Canals*: found, and followed to nine"
        " tenths, of all; mean over seeds. *False*: false canals per tooth. *CPU*: minutes of all stages, a shared stage 0"
        " counted in full; *wall* depends on what else the machine did.",
        "",
        *table([overview(row, plan, group) for row, group in records.items()]),
        "## Differences",
        "",
        "Paired, over the patients and seeds that both rows have, with 95 % intervals of the studentized"
        " bootstrap; positive is better for the row. **Bold**: the interval excludes 0 and the"
        " difference exceeds its seed-to-seed SD; with one seed nothing is bold. p: sign-flip test"
        " of the Dice, corrected by Holm for all pairs of the table.",
        "",
        *table(differences(plan, records)),
        "## All networks (row 12: what to deploy)",
        "",
        "Students see their views. *students* and *all* are means of probabilities of two and of"
        " three networks, at two and three times the cost of inference.",
        "",
        *table(
            [
                line
                for row, group in records.items()
                if "of" not in plan["rows"][row]
                for line in by_network(row, group)
            ]
        ),
        *missing_lines(plan, records, left_out),
    ]
    output.write_text("\n".join(lines).rstrip() + "\n")


def row_settings(plan: Mapping[str, Any], scale: str, name: str) -> dict[str, Any]:
    """Everything that the result of a row depends on but the seed: `common`, `row` and `start`."""
    row = plan["rows"][name]
    described = {
        key: value for key, value in row.items() if key not in ("tests", "against", "network")
    }
    common = {**plan["common"], **plan["scales"][scale]}
    return {"common": common, "row": described, "start": plan["starts"].get(row.get("start"))}


def current_records(
    plan: Mapping[str, Any], scale: str, folder: Path
) -> tuple[dict[str, list[Record]], int]:
    """Records by row, in the order of the plan, and how many have other settings than today's."""
    found: dict[str, list[Record]] = {row: [] for row in plan["rows"]}
    left_out = 0
    for path in sorted(folder.glob(f"{scale}-*.json")):
        record = json.loads(path.read_text())
        row = record["row"]
        if row in found and record["settings"] == row_settings(plan, scale, row):
            found[row].append(record)
        else:
            left_out += 1
    for row, described in plan["rows"].items():
        if "network" in described:
            trained = found[described.get("of", row)]
            found[row] = [{**record, "network": described["network"]} for record in trained]
    return {row: group for row, group in found.items() if group}, left_out


def setting_lines(
    plan: Mapping[str, Any], scale: str, records: Mapping[str, Sequence[Record]]
) -> list[str]:
    """What was run where and when."""
    common = {**plan["common"], **plan["scales"][scale]}
    phantoms = common["phantoms"]
    every = [r for row, group in records.items() if "of" not in plan["rows"][row] for r in group]
    edge = "×".join(map(str, common["window"]))
    unlabeled = phantoms["count"] - phantoms["labeled"] - phantoms["validation"] - phantoms["test"]
    lines = [
        "",
        f"Scale `{scale}`: {common['start_steps']} + {common['steps']} optimizer steps; windows of"
        f" {edge} voxels of {phantoms['spacing'][0]} mm; {phantoms['labeled']} labeled and {unlabeled}"
        f" unlabeled phantoms, {phantoms['validation']} to validate on; U-Net of"
        f" {common['channels']} channels; last checkpoint. Phantoms are made: no number says how"
        " well a method works on patients.",
    ]
    if every:
        dates, machines = ({record[key] for record in every} for key in ("date", "machine"))
        revisions = {record["revision"][:9] or "unknown" for record in every}
        lines += [
            "",
            f"{len(every)} trainings, {min(dates)} to {max(dates)}, on {'; '.join(sorted(machines))};"
            f" revisions {', '.join(sorted(revisions))}.",
        ]
    return lines


def main_network(record: Record) -> str:
    """The network that stands for a row."""
    return record.get("network") or ("teacher" if "teacher" in record["scores"] else "student")


def values(group: Sequence[Record], metric: str, network: str | None = None) -> Values:
    """Shape (seeds, patients); NaN where a metric is not defined."""
    rows = [r["scores"][network or main_network(r)][metric] for r in group]
    return np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)


def per_patient(seeds_by_patients: Values) -> Values:
    """Mean over seeds; patients without any value are left out."""
    defined = ~np.isnan(seeds_by_patients).all(axis=0)
    return np.asarray(np.nanmean(seeds_by_patients[:, defined], axis=0))


def mean_sd(seeds_by_patients: Values) -> str:
    """Mean ± SD over patients."""
    patients = per_patient(seeds_by_patients)
    if not len(patients):
        return "-"
    spread = f" ± {patients.std(ddof=1):.3f}" if len(patients) > 1 else ""
    return f"{patients.mean():.3f}{spread}"


def canals(group: Sequence[Record], network: str | None = None) -> str:
    """Canals found and followed of all canals, mean over seeds."""
    found, followed, every = (
        np.nansum(values(group, metric, network), axis=1).mean()
        for metric in ("canals_found", "canals_followed", "canals")
    )
    return f"{found:.1f}, {followed:.1f} of {every:.0f}"


def total(seconds: Sequence[float | None]) -> float | None:
    """The sum over stages; None if one is unknown."""
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None


def minutes(group: Sequence[Record], clock: str) -> str:
    """Mean over the trainings whose time is known."""
    times = [total([stage[clock] for stage in r["times"].values()]) for r in group]
    known = [seconds for seconds in times if seconds is not None]
    return f"{np.mean(known) / 60:.1f}" if known else "-"


def overview(row: str, plan: Mapping[str, Any], group: Sequence[Record]) -> dict[str, str]:
    """One row of the first table."""
    dice = values(group, "dice")
    spread = f", {np.nanmean(dice, axis=1).std(ddof=1):.3f}" if len(group) > 1 else ""
    return {
        "row": row,
        "what": plan["rows"][row]["tests"],
        "seeds": f"{len(group)}{spread}",
        "Dice": mean_sd(dice),
        "HD95 mm": f"{per_patient(values(group, 'hd95_mm')).mean():.2f}",
        "clDice": mean_sd(values(group, "centerline_dice")),
        "canals": canals(group),
        "false": f"{np.nanmean(values(group, 'false_canals')):.1f}",
        "CPU": minutes(group, "cpu_seconds"),
        "wall": minutes(group, "seconds"),
    }


def differences(
    plan: Mapping[str, Any], records: Mapping[str, Sequence[Record]]
) -> list[dict[str, str]]:
    """Each row against the floor, the competitor, and the row that it is built on."""
    pairs = [
        (row, other)
        for row in records
        for other in dict.fromkeys([FLOOR, COMPETITOR, plan["rows"][row].get("against")])
        if other in records and other != row
    ]
    found = [
        {metric: difference(records[row], records[other], metric) for metric in COMPARED}
        for row, other in pairs
    ]
    # A pair that stands in the table both ways round is one hypothesis.
    known = {
        frozenset(pair): by_metric["dice"].p
        for pair, by_metric in zip(pairs, found, strict=True)
        if by_metric["dice"] is not None
    }
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    lines = []
    for (row, other), by_metric in zip(pairs, found, strict=True):
        line = {"row": row, "against": other}
        line |= {name: told(by_metric[metric]) for metric, name in COMPARED.items()}
        dice = by_metric["dice"]
        line["better"] = "-" if dice is None else f"{dice.better} of {dice.patients}"
        line["p (Holm)"] = "-" if dice is None else f"{adjusted[frozenset((row, other))]:.3f}"
        lines.append(line)
    return lines


def difference(these: Sequence[Record], those: Sequence[Record], metric: str) -> Difference | None:
    """Compare two rows over the seeds and the patients that both have; None if they share none."""
    seeds = sorted({r["seed"] for r in these} & {r["seed"] for r in those})
    if not seeds:
        return None
    mine, theirs = (
        values([r for s in seeds for r in group if r["seed"] == s], metric).T
        for group in (these, those)
    )
    kept = np.isfinite(mine).all(axis=1) & np.isfinite(theirs).all(axis=1)
    if not kept.any():
        return None
    return paired_difference(mine[kept], theirs[kept])


def told(one: Difference | None) -> str:
    """Mean with its interval, in bold where it is proven."""
    if one is None:
        return "-"
    text = f"{one.mean:+.3f} [{one.interval[0]:+.3f}, {one.interval[1]:+.3f}]"
    return f"**{text}**" if one.proven else text


def by_network(row: str, group: Sequence[Record]) -> list[dict[str, str]]:
    """Rows of the third table: all networks of one row."""
    return [
        {
            "row": row,
            "network": name,
            "Dice": mean_sd(values(group, "dice", name)),
            "HD95 mm": f"{per_patient(values(group, 'hd95_mm', name)).mean():.2f}",
            "clDice": mean_sd(values(group, "centerline_dice", name)),
            "canals": canals(group, name),
        }
        for name in group[0]["scores"]
    ]


def missing_lines(
    plan: Mapping[str, Any], records: Mapping[str, Sequence[Record]], left_out: int
) -> list[str]:
    """What has no record yet, and what has one that does not count."""
    lines = []
    absent = [row for row in plan["rows"] if row not in records]
    if absent:
        lines += [f"Not trained yet: rows {', '.join(absent)}. The same command trains them.", ""]
    if left_out:
        lines += [f"{left_out} records of other settings than today's are left out.", ""]
    return lines


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Rows as a Markdown table, and an empty line."""
    if not rows:
        return ["Nothing yet.", ""]
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return [*lines, *("| " + " | ".join(row.values()) + " |" for row in rows), ""]
