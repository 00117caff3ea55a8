"""Supervised against BCP on the 1.25 mm left-atrium data: trains what is missing, writes a table.

Usage: python benchmarks/left_atrium_small.py --dataset DIR --runs DIR [--shard I/N] [--report]

Each arm is the bundle with `small.yaml`, run by `python -m monai.bundle run`; a run that was
killed continues, and a training that lies elsewhere keeps the rows that are written of it. The honest protocol is scored on the validation cases of the manifest, with the
last checkpoint: student, teacher, and the student with batch-norm statistics of unmixed windows; with
the default and with the published window setting. The paper protocol trains on the images of these cases
too, without their labels; its scores here are of cases that it has seen and stand apart.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

from medsemi.comparison.jobs import shard
from medsemi.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "left_atrium_mri_bcp" / "configs"
SEEDS = (1337, 2024)
PROTOCOLS = {"validation": "left_atrium_8_labeled", "paper": "left_atrium_8_labeled_paper"}
STAGES = {"bcp": ("pretrain", "train"), "supervised": ("supervised",)}
WINDOWS = ("fast", "published")
RECALIBRATION_STEPS = 40

Scores = dict[str, dict[str, dict[str, float]]]  # network -> case -> metric


@dataclass(frozen=True)
class Arm:
    """One training: protocol, seed and method."""

    protocol: str
    seed: int
    method: str

    def folder(self, runs: Path) -> Path:
        """Where the training lies; both methods of a protocol and seed share a folder."""
        return runs / f"{self.protocol}-{self.seed}"

    def finished(self, runs: Path) -> bool:
        """Whether the last stage has exported its network."""
        return (self.folder(runs) / STAGES[self.method][-1] / "model.pt").is_file()

    def scores(self, runs: Path, windows: str) -> Scores:
        """Metrics by network and case; empty if not evaluated."""
        name = f"{STAGES[self.method][-1]}_validation_{windows}"
        path = self.folder(runs) / "evaluate" / name / "cases.csv"
        scores: Scores = {}
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    measured = {k: float(row[k]) for k in ("dice", "hd95_mm", "seconds")}
                    scores.setdefault(row["network"], {})[row["case_id"]] = measured
        return scores


def arms() -> Iterator[Arm]:
    """All trainings, the ones that can be scored here first."""
    for protocol in PROTOCOLS:
        for seed in SEEDS:
            for method in STAGES:
                yield Arm(protocol, seed, method)


def run_stage(arm: Arm, stage: str, dataset: Path, runs: Path, *options: str) -> None:
    """Run one stage of the bundle, or what is left of it."""
    files = [str(CONFIGS / f"{name}.yaml") for name in ("common", stage, "small")]
    # The paper protocol lists no validation cases: all are scored on those of the honest one.
    manifest = PROTOCOLS["validation" if stage == "evaluate" else arm.protocol]
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)),
        *("--bundle_root", str(CONFIGS.parent), "--dataset_dir", str(dataset)),
        *("--manifest", str(ROOT / "data_manifests" / f"{manifest}.json")),
        *("--output_dir", str(arm.folder(runs)), "--seed", str(arm.seed), *options),
    ]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def train(arm: Arm, dataset: Path, runs: Path) -> None:
    """Run the stages of one training, or what is left of them."""
    for stage in STAGES[arm.method]:
        run_stage(arm, stage, dataset, runs)


def evaluate(arm: Arm, dataset: Path, runs: Path) -> None:
    """Score the networks of a finished training on the validation cases, once for each setting."""
    if not arm.finished(runs):
        return
    for windows in WINDOWS:
        if not arm.scores(runs, windows):
            options = ["--evaluated", STAGES[arm.method][-1], "--protocol", windows]
            if windows == "fast":
                options += ["--recalibration_steps", str(RECALIBRATION_STEPS)]
            run_stage(arm, "evaluate", dataset, runs, *options)


def spent(arm: Arm, runs: Path) -> tuple[float, int]:
    """Seconds between steps (pauses of a killed run left out) and steps of all stages."""
    total, steps = 0.0, 0
    for stage in STAGES[arm.method]:
        times: dict[int, float] = {}
        with (arm.folder(runs) / stage / "history.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["name"] == "loss":
                    times[int(row["step"])] = float(row["unix_seconds"])
        ordered = [times[step] for step in sorted(times)]
        total += sum(gap for gap in (b - a for a, b in pairwise(ordered)) if 0 < gap < 300)
        steps += max(times)
    return total, steps


def trainings(runs: Path) -> list[dict[str, object]]:
    """One row per finished training and network."""
    rows: list[dict[str, object]] = []
    for arm in arms():
        if not arm.finished(runs):
            continue
        seconds, steps = spent(arm, runs)
        start = {"protocol": arm.protocol, "seed": arm.seed, "method": arm.method}
        made = (arm.folder(runs) / STAGES[arm.method][-1] / "model.pt").stat().st_mtime
        start |= {"date": str(datetime.date.fromtimestamp(made))}
        start |= {"steps": steps, "minutes": round(seconds / 60)}
        for network, cases in (arm.scores(runs, "fast") or {"-": {}}).items():
            dice = [case["dice"] for case in cases.values()]
            hd95 = [case["hd95_mm"] for case in cases.values()]
            row = {**start, "network": network, "cases": len(cases)}
            row["Dice"] = f"{mean(dice):.3f} ± {stdev(dice):.3f}" if dice else "-"
            row["HD95 mm"] = f"{mean(hd95):.1f}" if dice else "-"
            row["worst Dice"] = f"{min(dice):.3f}" if dice else "-"
            rows.append(row)
    return rows


def difference(these: Sequence[float], those: Sequence[float]) -> dict[str, object]:
    """Mean paired difference with its 95 % bootstrap interval, and how many cases gain."""
    import numpy as np
    from scipy.stats import bootstrap

    gains = np.subtract(these, those)
    interval = bootstrap((gains,), np.mean, rng=0).confidence_interval
    shown = f"{gains.mean():+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
    return {"difference in Dice": shown, "better": f"{(gains > 0).sum()} of {len(gains)}"}


def comparisons(runs: Path) -> list[dict[str, object]]:
    """What the deployed network, the method and the window setting are worth, case by case."""
    rows: list[dict[str, object]] = []
    for arm in arms():
        fast, published = (arm.scores(runs, windows) for windows in WINDOWS)
        other = Arm(arm.protocol, arm.seed, "supervised").scores(runs, "fast")
        pairs = {
            f"{arm.method}: teacher − student": (fast.get("teacher"), fast.get("student")),
            f"{arm.method}: recalibrated student − student": (
                fast.get("student_recalibrated"),
                fast.get("student"),
            ),
        }
        if arm.method == "bcp":
            for network in ("student", "teacher"):
                pair = fast.get(network), other.get("student")
                pairs[f"bcp {network} − supervised student"] = pair
        for network in published:
            pair = fast.get(network), published[network]
            pairs[f"{arm.method} {network}: default − published windows"] = pair
        for name, (these, those) in pairs.items():
            if these and those:
                values = [[side[case]["dice"] for case in sorted(those)] for side in (these, those)]
                start = {"protocol": arm.protocol, "seed": arm.seed, "compared": name}
                rows.append({**start, **difference(*values)})
    return rows


def window_seconds(runs: Path) -> str:
    """How long the two window settings take per case, from the same evaluations."""
    seconds = {
        windows: [
            case["seconds"]
            for arm in arms()
            for network, cases in arm.scores(runs, windows).items()
            if network != "student_recalibrated"
            for case in cases.values()
        ]
        for windows in WINDOWS
    }
    if not all(seconds.values()):
        return ""
    fast, published = (mean(seconds[windows]) for windows in WINDOWS)
    return f"A case took {fast:.1f} s with the default windows, {published:.1f} s with the published ones."


def table(rows: Sequence[dict[str, object]]) -> list[str]:
    """Rows as a Markdown table."""
    if not rows:
        return []
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return [*lines, *("| " + " | ".join(map(str, row.values())) + " |" for row in rows), ""]


def merged(rows: Sequence[dict[str, object]], recorded: object) -> list[dict[str, object]]:
    """Rows in the order of the arms, with what is recorded of trainings that do not lie here."""
    order = {arm: place for place, arm in enumerate(arms())}

    def arm_of(row: Mapping[str, object]) -> Arm:
        method = str(row.get("method") or str(row["compared"]).split(":")[0].split()[0])
        return Arm(str(row["protocol"]), int(str(row["seed"])), method)

    here = {arm_of(row) for row in rows}
    assert isinstance(recorded, list)
    kept = [row for row in recorded if arm_of(row) not in here]
    return sorted([*rows, *kept], key=lambda row: order[arm_of(row)])


def report(runs: Path, path: Path) -> None:
    """Write the tables as Markdown, and their rows as JSON beside them."""
    record = path.with_suffix(".json")
    written = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    trained = merged(trainings(runs), written.get("trainings", []))
    compared = merged(comparisons(runs), written.get("comparisons", []))
    seconds = window_seconds(runs) or written.get("window_seconds", "")
    done = {(row["protocol"], row["seed"], row["method"]) for row in trained}
    missing = [
        f"{arm.protocol} {arm.seed} {arm.method}"
        for arm in arms()
        if (arm.protocol, arm.seed, arm.method) not in done
    ]
    lines = [
        "# Left atrium at 1.25 mm, 8 labels: supervised and BCP",
        "",
        f"Written by `python benchmarks/left_atrium_small.py --dataset DATA --runs RUNS`, last on {datetime.date.today()};"
        f" {platform.machine()}, {os.cpu_count()} CPU cores, one thread per training; `small.yaml`;"
        " last checkpoint, no component filter; the 12 validation cases of the honest protocol; mean ±"
        " SD over cases. The paper protocol trains on the images of these cases too, without their"
        " labels: compare its rows with each other.",
        "",
        *table(trained),
        "Paired differences over the validation cases, with 95 % bootstrap intervals:",
        "",
        *table(compared),
        seconds,
    ]
    if missing:
        lines += ["", f"Not trained yet: {', '.join(missing)}. The same command trains them."]
    path.write_text("\n".join(lines).rstrip() + "\n")
    document = {"trainings": trained, "comparisons": compared, "window_seconds": seconds}
    record.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Train and score the arms of this shard, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dataset", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--runs", type=Path, required=True, help="where trainings lie")
    parser.add_argument("--shard", default="0/1", help="I/N: take every N-th training, from I")
    parser.add_argument("--report", action="store_true", help="only write the tables")
    given = parser.parse_args()
    if not given.report:
        if given.dataset is None:
            parser.error("--dataset is needed to train")
        try:
            mine = shard(list(arms()), given.shard)
        except ConfigError as error:
            parser.error(str(error))
        for arm in mine:
            train(arm, given.dataset.resolve(), given.runs.resolve())
            evaluate(arm, given.dataset.resolve(), given.runs.resolve())
    report(given.runs, Path(__file__).with_name("left_atrium_small.md"))


if __name__ == "__main__":
    main()
