"""Supervised against BCP on the 1.25 mm left-atrium data: trains what is missing, writes a table.

Usage: python benchmarks/left_atrium_small.py --dataset DIR --runs DIR [--shard I/N] [--report]

Each arm is the bundle with `small.yaml`, run by `python -m monai.bundle run`; a run that was
killed continues. The honest protocol is scored on the validation cases of the manifest, with the
last checkpoint. The paper protocol has no validation cases: it is trained here and scored on the
test cases by whoever holds them.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "left_atrium_mri_bcp" / "configs"
SEEDS = (1337, 2024)
PROTOCOLS = {"validation": "left_atrium_8_labeled", "paper": "left_atrium_8_labeled_paper"}
STAGES = {"bcp": ("pretrain", "train"), "supervised": ("supervised",)}


@dataclass(frozen=True)
class Arm:
    """One training: protocol, seed and method."""

    protocol: str
    seed: int
    method: str

    def folder(self, runs: Path) -> Path:
        """Where the training lies; both methods of a protocol and seed share a folder."""
        return runs / f"{self.protocol}-{self.seed}"


def arms() -> Iterator[Arm]:
    """All trainings, the ones that can be scored here first."""
    for protocol in PROTOCOLS:
        for seed in SEEDS:
            for method in STAGES:
                yield Arm(protocol, seed, method)


def train(arm: Arm, dataset: Path, runs: Path) -> None:
    """Run the stages of one training, or what is left of them."""
    for stage in STAGES[arm.method]:
        files = [str(CONFIGS / f"{name}.yaml") for name in ("common", stage, "small")]
        command = [
            *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)),
            *("--bundle_root", str(CONFIGS.parent), "--dataset_dir", str(dataset)),
            *("--manifest", str(ROOT / "data_manifests" / f"{PROTOCOLS[arm.protocol]}.json")),
            *("--output_dir", str(arm.folder(runs)), "--seed", str(arm.seed)),
        ]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def rows(runs: Path) -> Iterator[dict[str, object]]:
    """One row per finished network, from the last validation of each training."""
    for arm in arms():
        stage = arm.folder(runs) / STAGES[arm.method][-1]
        if not (stage / "model.pt").is_file():
            continue
        seconds, steps = spent(arm, runs)
        common = {"protocol": arm.protocol, "seed": arm.seed, "method": arm.method}
        common |= {"steps": steps, "minutes": round(seconds / 60)}
        found = sorted((stage / "validation").glob("step_*/cases.csv"))
        if not found:
            yield {
                **common,
                "network": "-",
                "cases": 0,
                "dice": None,
                "hd95_mm": None,
                "worst": None,
            }
            continue
        for network, cases in by_network(found[-1]).items():
            dice = [float(case["dice"]) for case in cases]
            distance = mean(float(case["hd95_mm"]) for case in cases)
            scores = {"dice": round(mean(dice), 3), "hd95_mm": round(distance, 1)}
            yield {**common, "network": network, "cases": len(cases), **scores, "worst": min(dice)}


def by_network(path: Path) -> dict[str, list[Mapping[str, str]]]:
    """Read the table of cases, by network."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["network"], []).append(row)
    return groups


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
        gaps = [late - early for early, late in pairwise(ordered)]
        total += sum(gap for gap in gaps if 0 < gap < 300)
        steps += max(times)
    return total, steps


def report(runs: Path, path: Path) -> None:
    """Write the table as Markdown, and the rows as JSON beside it."""
    table = list(rows(runs))
    lines = [
        "# Left atrium at 1.25 mm, 8 labels: supervised and BCP",
        "",
        f"Written by `python benchmarks/left_atrium_small.py` on {datetime.date.today()};"
        f" {platform.machine()}, {os.cpu_count()} CPU cores, one thread per training; `small.yaml`;"
        " last checkpoint, no component filter; validation cases of the manifest.",
        "",
        "| protocol | seed | method | student steps | minutes | network | cases | Dice | HD95 mm | worst Dice |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    order = ("protocol", "seed", "method", "steps", "minutes", "network", "cases", "dice")
    for row in table:
        cells = [row[key] for key in (*order, "hd95_mm", "worst")]
        shown = [
            "-" if c is None else f"{c:.3f}" if key == "worst" else str(c)
            for key, c in zip((*order, "hd95_mm", "worst"), cells, strict=True)
        ]
        lines.append("| " + " | ".join(shown) + " |")
    missing = [
        a for a in arms() if not (a.folder(runs) / STAGES[a.method][-1] / "model.pt").is_file()
    ]
    if missing:
        names = ", ".join(f"{a.protocol} {a.seed} {a.method}" for a in missing)
        lines += ["", f"Not trained yet: {names}. The same command trains them."]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n")


def main() -> None:
    """Train the arms of this shard, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dataset", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--runs", type=Path, required=True, help="where trainings lie")
    parser.add_argument("--shard", default="0/1", help="I/N: take every N-th training, from I")
    parser.add_argument("--report", action="store_true", help="only write the table")
    given = parser.parse_args()
    index, count = (int(part) for part in given.shard.split("/"))
    if not given.report:
        if given.dataset is None:
            parser.error("--dataset is needed to train")
        for arm in list(arms())[index::count]:
            train(arm, given.dataset.resolve(), given.runs.resolve())
    report(given.runs, Path(__file__).with_name("left_atrium_small.md"))


if __name__ == "__main__":
    main()
