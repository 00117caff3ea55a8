"""Which switches help: trains trials on one board, leaves a record of each, and writes a table.

Usage: python benchmarks/recipe_search.py --board cardiac_7 --dataset DIR --runs DIR
    [--trials published,symmetric] [--seeds 0,1] [--shard I/N] [--report]

Trials and boards are in `recipe_search.yaml`. A trial that was killed continues; one whose record has
the settings of today is not trained again. Scores are of the validation cases, last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from method_comparison import boards as compared_boards

from medsemi.atomic import write_atomically
from medsemi.comparison.equal_time import gain_in_the_same_minutes
from medsemi.comparison.jobs import Arm, Plan, run_arm, shard
from medsemi.comparison.records import CurvePoint, Record, collect
from medsemi.comparison.stage_runs import Tracked
from medsemi.comparison.summary import Values, values
from medsemi.data.manifest import load_manifest
from medsemi.errors import MedsemiError
from medsemi.evaluation.statistics import Difference, compare
from medsemi.marked_section import with_section

ROOT = Path(__file__).resolve().parents[1]
BOARDS = Path(__file__).with_suffix(".yaml")
RECORDS = Path(__file__).with_suffix("")
COMPARED = RECORDS.with_name("method_comparison")
BASELINE = "published"
PAGE = ROOT / "docs" / "recipe.md"
CHANGES = (
    "<!-- changes: begin, written by benchmarks/recipe_search.py -->",
    "<!-- changes: end -->",
)
Rows = list[dict[str, str]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One setting on one board.

    Attributes:
        board: name of the board.
        name: of the trial.
        method: of the registry.
        overrides: keys of the bundle and their values, over the overlays of the board.
        why: what the trial asks.
    """

    board: str
    name: str
    method: str
    overrides: Mapping[str, Any]
    why: str

    def record(self, seed: int) -> Path:
        """The file that keeps its result."""
        return RECORDS / self.board / f"{self.name}-{seed}.json"

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a record of it must have: the method, the split and the configurations of today."""
        with TemporaryDirectory() as folder:
            plan = plan_of(self, 0, ROOT, Path(folder))
            return {
                "method": self.method,
                "manifest_digest": plan.manifest.digest,
                "settings_digest": plan.settings_digest,
                "evaluation_digest": plan.evaluation_digest,
            }

    def known(self, seed: int) -> dict[str, Any] | None:
        """Its result; None if there is none, or of other settings.

        A training of `method_comparison.py` in the same configuration is one of it.
        """
        paths = [self.record(seed), *COMPARED.glob(f"*/{self.method}-{seed}.json")]
        for found in (json.loads(p.read_text(encoding="utf-8")) for p in paths if p.is_file()):
            if all(found[name] == value for name, value in self.identity.items()):
                return dict(found)
        return None


def described() -> dict[str, Any]:
    """What `recipe_search.yaml` says."""
    found: dict[str, Any] = yaml.safe_load(BOARDS.read_text(encoding="utf-8"))
    return found


def trials(board: str) -> dict[str, Trial]:
    """All trials of a board, in their order."""
    return {
        name: Trial(board, name, trial.get("method", "bcp"), trial.get("set", {}), trial["why"])
        for name, trial in described()["trials"].items()
        if board in trial.get("boards", [board])
    }


def plan_of(trial: Trial, seed: int, dataset: Path, runs: Path) -> Plan:
    """The one training of a trial and seed as a plan; its overlay is written."""
    board = described()["boards"][trial.board]
    output = runs / trial.board / trial.name
    text = yaml.safe_dump(dict(trial.overrides))
    # A training reads it at each of its stages, so other overrides have another file.
    overlay = output / f"trial_{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(overlay) as temporary:
        temporary.write_text(f"# {trial.why}\n{text}", encoding="utf-8")
    return Plan(
        bundle=ROOT / board["bundle"],
        dataset_dir=dataset,
        manifest_path=ROOT / board["manifest"],
        output=output,
        methods=(trial.method,),
        seeds=(seed,),
        overlays=(*map(_overlay, board["overlays"]), str(overlay)),
    )


def _overlay(name: str) -> str:
    """A file of this repository by its path, one of the bundle by its name."""
    return str(ROOT / name) if "/" in name else name


def run(trial: Trial, seed: int, dataset: Path, runs: Path) -> None:
    """Train and score a trial, and keep what came of it.

    Raises:
        MedsemiError: if a stage fails, or left nothing to read.
    """
    plan, arm = plan_of(trial, seed, dataset, runs), Arm(trial.method, seed)
    run_arm(plan, arm)
    found = collect(plan, arm, Tracked(plan.tracking, plan.experiment))
    if found is None:
        raise MedsemiError(f"{trial.name}, seed {seed}: nothing to read in {plan.folder(arm)}.")
    record = {"trial": trial.name, "overrides": dict(trial.overrides), **asdict(found[0])}
    path = trial.record(seed)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def scores(records: Mapping[int, Record], metric: str) -> Values:
    """Seed -> case -> mean of the classes, of the deployed network."""
    return values(list(records.values()), "validation", metric)


def rows(board: str) -> Iterator[dict[str, str]]:
    """A row for each trial that has a record, the baseline first."""
    facts = described()["boards"][board]
    manifest = load_manifest(ROOT / facts["manifest"])
    patients = {case.case_id: case.patient for case in manifest.validation}
    found = {name: _records(trial) for name, trial in trials(board).items()}
    base = found.get(BASELINE, {})
    for name, records in found.items():
        if not records:
            continue
        by_seed = scores(records, "dice")
        means = [mean(cases.values()) for cases in by_seed.values()]
        far = [mm for cases in scores(records, "hd95_mm").values() for mm in cases.values()]
        shared = sorted(set(records) & set(base)) if name != BASELINE else []
        yield {
            "trial": name,
            "what": trials(board)[name].why,
            "seeds": ", ".join(map(str, records)),
            "network": next(iter(records.values())).deployed,
            "Dice": f"{mean(means):.3f}" + (f" ± {stdev(means):.3f}" if len(means) > 1 else ""),
            "HD95 mm": f"{mean(mm for mm in far if not math.isnan(mm)):.1f}",
            "minutes": _minutes(records.values()),
            "steps": str(next(iter(records.values())).steps),
            **_against(by_seed, base, shared, patients),
            "same minutes": _same_minutes(records, base, shared),
        }


def side_by_side(tables: Mapping[str, Rows]) -> str:
    """What each single change of BCP does on every board."""
    facts = described()
    titles = [facts["boards"][board]["title"] for board in tables]
    lines = [f"| one change from BCP as published | {' | '.join(titles)} |"]
    lines += ["|" + "---|" * (1 + len(titles))]
    for name, told in facts["single_changes"].items():
        found = [{row["trial"]: row for row in table}.get(name) for table in tables.values()]
        cells = [f"{row['against published']}, {row['better']}" if row else "–" for row in found]
        lines.append(f"| {told} (`{name}`) | {' | '.join(cells)} |")
    return "\n".join(lines)


def beside_the_comparison(board: str) -> list[str]:
    """Trials with several seeds against trainings of `method_comparison.py` with the same split and steps."""
    facts = described()["boards"][board]
    if "compared" not in facts:
        return []
    other = compared_boards()[facts["compared"]]
    page = f"[{other.described['title']}](method_comparison/{other.name}.md)"
    lines = []
    for name in facts["closest"]:
        records = _records(trials(board)[name])
        for method in dict.fromkeys(record.method for record in other.records):
            theirs = other.dice(method)
            shared = sorted(set(records) & set(theirs))
            if len(shared) > 1:
                ours = {
                    seed: table for seed, table in scores(records, "dice").items() if seed in shared
                }
                found = compare(ours, theirs, other.patients)
                cells = (
                    name,
                    method,
                    ", ".join(map(str, shared)),
                    _told(found),
                    f"{found.seed_sd:.3f}",
                )
                lines.append(f"| {' | '.join(cells)} | {found.better} of {found.patients} |")
    head = [
        "",
        f"Against the trainings of {page}:",
        "",
        "| trial | against | seeds | difference | SD over seeds | better |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *lines] if lines else []


def _told(found: Difference) -> str:
    return f"{found.mean:+.3f} [{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]"


def _against(
    by_seed: Values,
    base: Mapping[int, Record],
    shared: Sequence[int],
    patients: Mapping[str, str],
) -> dict[str, str]:
    """The paired difference to the baseline, over patients and the seeds that both have."""
    if not shared:
        return {"against published": "-", "better": "-"}
    found = compare({seed: by_seed[seed] for seed in shared}, scores(base, "dice"), patients)
    return {
        "against published": _told(found),
        "better": f"{found.better} of {found.patients}",
    }


def _minutes(records: Iterable[Record]) -> str:
    known = [record.seconds / 60 for record in records if record.seconds is not None]
    return f"{mean(known):.0f}" if known else "-"


def _same_minutes(
    records: Mapping[int, Record], base: Mapping[int, Record], shared: Sequence[int]
) -> str:
    gains = [gain_in_the_same_minutes(records[seed], base[seed]) for seed in shared]
    known = [gain for gain in gains if gain is not None]
    return f"{mean(known):+.3f} ({len(known)})" if known else "-"


def _records(trial: Trial) -> dict[int, Record]:
    found = {}
    paths = [*RECORDS.glob(f"{trial.board}/{trial.name}-*.json")]
    paths += COMPARED.glob(f"*/{trial.method}-*.json")
    for seed in sorted({int(end) for path in paths if (end := path.stem.split("-")[-1]).isdigit()}):
        record = trial.known(seed)
        if record is not None:
            points = tuple(CurvePoint(**point) for point in record["curve"])
            kept = {field.name: record[field.name] for field in fields(Record)}
            found[seed] = Record(**{**kept, "curve": points})
    return found


def report() -> None:
    """Write the tables of all boards, and that of single changes into the document of the recipe."""
    boards = described()["boards"]
    lines = [
        "# Which switches of the recipe help",
        "",
        "Written by `python benchmarks/recipe_search.py --report` from the records in"
        " `recipe_search/`; trials in `recipe_search.yaml`. Validation cases, last checkpoint, the"
        " network that the trial deploys. Dice: mean ± SD of the seeds' means. Differences are"
        " paired over patients and over the seeds that both have, with 95 % studentized bootstrap"
        " intervals; many are compared, and no interval is corrected for it. *Same minutes*: the"
        " difference at the last validation within the training time of the published recipe, over"
        " the seeds (their number in parentheses) that were trained on one kind of machine. Minutes"
        " depend on what else the machine did, and tests ran beside many of these trainings: a loss there of"
        " a change that costs no time is theirs.",
    ]
    tables = {board: list(rows(board)) for board in boards}
    for board, table in tables.items():
        if not table:
            continue
        known = {seed for trial in trials(board).values() for seed in _records(trial)}
        missing = [name for name, trial in trials(board).items() if not _records(trial)]
        lines += ["", f"## {board}", "", "| " + " | ".join(table[0]) + " |"]
        lines += ["|" + "---|" * len(table[0])]
        lines += ["| " + " | ".join(row.values()) + " |" for row in table]
        lines += beside_the_comparison(board)
        dates = sorted(r.date[:10] for t in trials(board).values() for r in _records(t).values())
        lines += ["", f"Trained {dates[0]} to {dates[-1]}; seeds {sorted(known)}."]
        if missing:
            lines += [f"Not trained yet: {', '.join(missing)}."]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_section(text, *CHANGES, side_by_side(tables)), encoding="utf-8")


def main() -> int:
    """Train and score what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--board", choices=described()["boards"], help="of recipe_search.yaml")
    parser.add_argument("--dataset", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--runs", type=Path, help="where trainings lie")
    parser.add_argument("--trials", default="", help="names, by comma; all by default")
    parser.add_argument("--seeds", default="0,1", help="by comma (0,1)")
    parser.add_argument("--shard", default="0/1", help="I/N: every N-th training, from I")
    parser.add_argument("--report", action="store_true", help="only write the tables")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed = False
    if not given.report:
        if None in (given.board, given.dataset, given.runs):
            parser.error("--board, --dataset and --runs are needed to train")
        known = trials(given.board)
        names = [name for name in given.trials.split(",") if name] or list(known)
        if unknown := [name for name in names if name not in known]:
            parser.error(f"{given.board} has no trial {', '.join(unknown)}; see {BOARDS.name}")
        pairs = [(known[n], int(s)) for s in given.seeds.split(",") for n in names]
        try:
            pairs = shard(pairs, given.shard)
        except MedsemiError as error:
            parser.error(str(error))
        for trial, seed in pairs:
            failed |= trial.known(seed) is None and not done(trial, seed, given)
    report()
    return int(failed)


def done(trial: Trial, seed: int, given: argparse.Namespace) -> bool:
    """Run a trial; False if it failed, which is told, and others go on."""
    logger.info("%s: %s, seed %d, %s", trial.board, trial.name, seed, platform.machine())
    try:
        run(trial, seed, given.dataset, given.runs)
    except MedsemiError as error:
        logger.error("%s", error)  # noqa: TRY400  (the sentence says it all)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
