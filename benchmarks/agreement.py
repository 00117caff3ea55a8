"""Does the agreement of student and teacher tell which segmentations are good?

Usage: python benchmarks/agreement.py --bundle DIR [DIR …] --dataset DIR --manifest JSON --work DIR

For each deployed bundle of a mean-teacher training, `medsemi predict` segments the validation cases of
the manifest. Then the Dice of each result with its reference is set against the agreement that stands
in its `case.json`: Spearman's rank correlation, and the risk-coverage curve, that is the mean Dice of
the share of cases that agree best. A curve that rises to the left means that agreement sorts cases.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy.stats import bootstrap, spearmanr

from medsemi.data.manifest import Manifest, load_manifest
from medsemi.evaluation.metrics import score_case

COVERAGES = (1.0, 0.75, 0.5, 0.25)


def predict(bundle: Path, images: Sequence[Path], out: Path) -> None:
    """Segment what is not done yet."""
    command = [sys.executable, "-m", "medsemi", "predict", *map(str, images)]
    command += ["--model", str(bundle), "--out", str(out), "--outputs", "nifti"]
    subprocess.run(command, check=True)


def scores(manifest: Manifest, dataset: Path, out: Path) -> list[tuple[str, float, float]]:
    """(case, agreement, Dice) of each validation case, over the structures of the model."""
    found = []
    for case in manifest.validation:
        assert case.label is not None
        name = case.image.name.removesuffix(".gz").removesuffix(".nii")
        folder = out / "cases" / name
        record = json.loads((folder / "case.json").read_text())
        agreement = [value for value in record["agreement"].values() if value is not None]
        predicted, reference = (
            nibabel.load(path) for path in (folder / "seg.nii.gz", dataset / case.label)
        )
        scored = score_case(
            np.asarray(predicted.dataobj),
            np.asarray(reference.dataobj),
            manifest.classes,
            reference.header.get_zooms(),
        )
        dice = [structure.dice for structure in scored.values()]
        found.append((case.case_id, min(agreement, default=0.0), float(np.mean(dice))))
    return found


def described(name: str, rows: Sequence[tuple[str, float, float]]) -> list[str]:
    """Correlation and curve of one bundle as Markdown."""
    agreement, dice = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(spearmanr(a, b).statistic)

    rank = correlation(agreement, dice)
    interval = bootstrap(
        (agreement, dice), correlation, paired=True, vectorized=False, rng=0, method="percentile"
    ).confidence_interval
    best_first, oracle = dice[np.argsort(-agreement)], np.sort(dice)[::-1]
    lines = [
        f"## {name}",
        "",
        f"{len(rows)} cases; Dice {dice.mean():.3f} (least {dice.min():.3f}); agreement"
        f" {agreement.mean():.3f} (least {agreement.min():.3f}).",
        f"Spearman {rank:.2f} [{interval.low:.2f}, {interval.high:.2f}] (95 % bootstrap).",
        "",
        "| share of cases that is kept | mean Dice, best agreement first | best possible order |",
        "|---|---|---|",
    ]
    for coverage in COVERAGES:
        kept = round(coverage * len(rows))
        lines.append(
            f"| {100 * coverage:.0f} % ({kept}) | {best_first[:kept].mean():.3f}"
            f" | {oracle[:kept].mean():.3f} |"
        )
    lines += ["", "| case | agreement | Dice |", "|---|---|---|"]
    lines += [f"| {case} | {a:.3f} | {d:.3f} |" for case, a, d in sorted(rows, key=lambda r: r[1])]
    return [*lines, ""]


def main() -> None:
    """Segment, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bundle", type=Path, nargs="+", required=True, help="deployed bundles")
    parser.add_argument(
        "--dataset", type=Path, required=True, help="where the manifest's paths start"
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where predictions go")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    manifest = load_manifest(given.manifest)
    images = [given.dataset / case.image for case in manifest.validation]
    lines = [
        "# Agreement of student and teacher, and Dice",
        "",
        f"Written by `python benchmarks/agreement.py --bundle BUNDLE ... --dataset DATA --manifest MANIFEST --work WORK` on {datetime.date.today()};"
        f" {platform.machine()}; validation cases of `{manifest.name}`. Agreement is the Dice of the"
        " label maps of student and teacher, as `case.json` holds it.",
        "",
    ]
    for bundle in given.bundle:
        run = bundle.resolve().parents[1].name
        predict(bundle, images, given.work / run)
        lines += described(run, scores(manifest, given.dataset, given.work / run))
    given.output.write_text("\n".join(lines).rstrip() + "\n")
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
