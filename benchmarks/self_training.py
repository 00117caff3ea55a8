"""Rounds of self-training on a board of the comparison: what each round adds to the labels alone.

Usage: python benchmarks/self_training.py --board cardiac_3 --dataset DIR --runs DIR [--seeds 0,1,2]
       python benchmarks/self_training.py --report

Each seed is one run of `scripts/self_training.py` (labels alone, then the stable half of the pseudo-labels,
then all) with the overlays of the board in `method_comparison.yaml`. What was killed continues; a seed with
a record in `self_training/` is not repeated. Validation cases, last checkpoint of each round.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from method_comparison import Board, board_parser, boards, started

from medsemi.atomic import write_atomically
from medsemi.bundle.merged import PLACES, settings_digest
from medsemi.comparison.stage_runs import StageRun, from_folder, read_scores
from medsemi.comparison.summary import Spread
from medsemi.comparison.timing import elapsed
from medsemi.data.rounds import keep_stable, read_pseudo_labels
from medsemi.evaluation.statistics import compare, patient_means

ROOT = Path(__file__).resolve().parents[1]
RECORDS = Path(__file__).with_suffix("")
REPORT = Path(__file__).with_suffix(".md")
KEEP = (0.5, 1.0)
STAGE = "supervised"


def train(board: Board, seed: int, dataset: Path, output: Path) -> None:
    """Run what is missing of all rounds of a seed.

    Raises:
        CalledProcessError: if it fails.
    """
    plan = board.plan(dataset, output)
    overlays = map(str, overlays_of(board))
    command = [
        *(sys.executable, str(ROOT / "scripts" / "self_training.py")),
        *("--bundle", str(plan.bundle), "--dataset_dir", str(dataset)),
        *("--manifest", str(plan.manifest_path), "--output_dir", str(output)),
        *("--stages", STAGE, "--overlay", *overlays, "--keep", *map(str, KEEP)),
        *("--", "--seed", str(seed)),
    ]
    subprocess.run(command, check=True)


def overlays_of(board: Board) -> list[Path]:
    """The files that lie over those of the bundle."""
    files = board.plan(ROOT, ROOT).files("method")
    return [path for path in files if path.stem not in ("common", "method")]


def identity(board: Board) -> dict[str, Any]:
    """What all records of a board must have: the split, the configurations and the rounds of today."""
    plan = board.plan(ROOT, ROOT)
    workflows = [
        [
            *(plan.bundle / "configs" / f"{name}.yaml" for name in ("common", stage)),
            *overlays_of(board),
        ]
        for stage in (STAGE, "pseudo_label")
    ]
    return {
        "manifest_digest": plan.manifest.digest,
        "settings_digest": settings_digest(workflows, (*PLACES, "seed")),
        "keep": list(KEEP),
    }


def record(board: Board, seed: int, output: Path) -> dict[str, Any]:
    """What the rounds of a seed were and scored."""
    unlabeled = board.plan(ROOT, output).manifest.unlabeled
    patients = {case.case_id: case.patient for case in unlabeled}
    rounds = [round_of(output, number, patients) for number in range(len(KEEP) + 1)]
    tags = finished(output / "round_0" / STAGE).tags
    return {
        "board": board.name,
        "seed": seed,
        "rounds": rounds,
        **identity(board),
        "machine": tags.get("medsemi.device", ""),
        "revision": tags.get("medsemi.revision", ""),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def round_of(output: Path, number: int, patients: Mapping[str, str]) -> dict[str, Any]:
    """One round: the labels that it learned from, and the Dice of each validation case."""
    folder = output / f"round_{number}" / STAGE
    run = finished(folder)
    scored = sorted(folder.glob("validation/step_*"))[-1]
    scores = read_scores(scored / "cases.csv")
    cases = scores["average" if "average" in scores else "student"]
    steps = max(row.step for row in run.history)
    if int(scored.name.removeprefix("step_")) != steps:
        msg = f"{folder} has no validation at its last step, {steps}."
        raise ValueError(msg)
    found: dict[str, Any] = {"steps": steps, "seconds": round(max(elapsed(run.history).values()))}
    if number:
        labels = read_pseudo_labels(output / f"round_{number - 1}" / "pseudo_label")
        kept = keep_stable(labels, KEEP[number - 1], patients)
        found["pseudo_labels"] = len(kept)
        found["stability"] = round(mean(label.stability for label in kept), 4)
    found["dice"] = {
        case: mean(float(values["dice"] or 0.0) for values in classes.values())
        for case, classes in cases.items()
    }
    return found


def finished(folder: Path) -> StageRun:
    """What is known of a training.

    Raises:
        ValueError: if there is none.
    """
    run = from_folder(folder)
    if run is None:
        msg = f"{folder} holds no finished run."
        raise ValueError(msg)
    return run


def known(board: Board) -> list[dict[str, Any]]:
    """The records of a board that have its identity of today, by seed."""
    found = [
        json.loads(p.read_text(encoding="utf-8")) for p in RECORDS.glob(f"{board.name}-*.json")
    ]
    today = identity(board)
    fitting = [one for one in found if all(one.get(name) == value for name, value in today.items())]
    return sorted(fitting, key=lambda one: int(one["seed"]))


def table(board: Board, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rounds of a board beside each other."""
    scores = [
        {int(one["seed"]): one["rounds"][number]["dice"] for one in records}
        for number in range(len(KEEP) + 1)
    ]
    lines = [
        f"## {board.described['title']}",
        "",
        f"Seeds {', '.join(str(one['seed']) for one in records)}; {len(set(board.patients.values()))}"
        f" patients; {records[0]['machine']}; {records[-1]['date'][:10]}; revisions"
        f" {', '.join(sorted({one['revision'][:10] for one in records}))}.",
        "",
        "| round | pseudo-labels, stability | Dice | against round 0 | 95 % interval | SD over seeds"
        " | patients that gain | steps so far | minutes so far |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, dice in enumerate(scores):
        rounds = [one["rounds"] for one in records]
        _, means = patient_means(dice, board.patients)
        spread = Spread.of([float(value) for value in means.mean(0)])
        learned, cells = "none", ["–"] * 4
        if number:
            count = rounds[0][number]["pseudo_labels"]
            learned = f"{count}, {mean(r[number]['stability'] for r in rounds):.3f}"
            found = compare(dice, scores[0], board.patients)
            cells = [
                f"{found.mean:+.3f}",
                f"{found.interval[0]:+.3f} to {found.interval[1]:+.3f}",
                f"{found.seed_sd:.3f}" if found.seeds > 1 else "–",
                f"{found.better} of {found.patients}",
            ]
        steps = sum(r["steps"] for r in rounds[0][: number + 1])
        minutes = mean(sum(r["seconds"] for r in one[: number + 1]) for one in rounds) / 60
        shown = f"{spread.mean:.3f}" + (f" ± {spread.sd:.3f}" if len(records) > 1 else "")
        cells = [str(number), learned, shown, *cells, str(steps), f"{minutes:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def report() -> None:
    """Write the tables of all boards that have records."""
    lines = [
        "# Rounds of self-training",
        "",
        "Written by `python benchmarks/self_training.py --report` from the records in `self_training/`. Round 0 is"
        " the labels alone; each later one trains from the start on the true labels and on the pseudo-labels that"
        " its predecessor made, the stable half of them in round 1, all in round 2. The average of the weights,"
        " last checkpoint, validation cases; differences are paired by patient and seed, intervals are of the"
        " studentized bootstrap. Minutes are of training alone, without the making of the labels.",
    ]
    found = [(board, known(board)) for board in boards().values()]
    for board, records in found:
        if records:
            lines += ["", *table(board, records)]
    if not any(records for _, records in found):
        lines += ["", "Not measured yet."]
    with write_atomically(REPORT) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing of a board, or write the tables."""
    given = started(board_parser(__doc__), arguments)
    if given.report:
        report()
        return 0
    board = boards()[given.board]
    done = {int(one["seed"]) for one in known(board)}
    for seed in map(int, given.seeds.split(",")) if given.seeds else board.described["seeds"]:
        if seed not in done:
            output = given.runs / board.name / f"seed_{seed}"
            train(board, seed, given.dataset, output)
            RECORDS.mkdir(exist_ok=True)
            text = json.dumps(record(board, seed, output), indent=1)
            (RECORDS / f"{board.name}-{seed}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
