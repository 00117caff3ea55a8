"""The methods beside each other on one board: trains, keeps a record of each training, writes tables.

Usage: python benchmarks/method_comparison.py --board cardiac_7 --dataset DIR --runs DIR
    [--methods bcp,fixmatch] [--seeds 0,1] [--shard I/N]
       python benchmarks/method_comparison.py --report

Boards are in `method_comparison.yaml`. A training that was killed continues; one that has a record in
`method_comparison/` is not repeated. `--report` trains nothing. It writes a page for each board and
what was measured into the page of each method. Validation cases, last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from medsemi.comparison.curves import draw_curves
from medsemi.comparison.equal_time import gain_in_the_same_minutes
from medsemi.comparison.jobs import Plan, shard
from medsemi.comparison.records import Record
from medsemi.comparison.run import known_records, run_missing
from medsemi.comparison.run import report as write_comparison
from medsemi.comparison.summary import MethodRow, Values, summarize, values
from medsemi.evaluation.statistics import Difference, compare
from medsemi.marked_section import with_section
from medsemi.methods.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
BOARDS = Path(__file__).with_suffix(".yaml")
RECORDS = Path(__file__).with_suffix("")
PAGES = ROOT / "docs" / "methods"
RECIPE_PAGE = ROOT / "docs" / "recipe.md"
BASELINE = "bcp"
ROLE = "validation"
BEGIN = "<!-- measured: begin, written by benchmarks/method_comparison.py -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Board:
    """One comparison and what is known of it.

    Attributes:
        name: in `method_comparison.yaml`.
        described: what stands there.
    """

    name: str
    described: Mapping[str, Any]

    def plan(self, dataset: Path, output: Path) -> Plan:
        """The comparison as `scripts/compare.py` would make it."""
        overlays = [
            str(ROOT / overlay) if overlay.endswith(".yaml") else overlay
            for overlay in self.described["overlays"]
        ]
        return Plan(
            bundle=ROOT / self.described["bundle"],
            dataset_dir=dataset,
            manifest_path=ROOT / self.described["manifest"],
            output=output,
            methods=tuple(self.described["methods"]),
            seeds=tuple(self.described["seeds"]),
            overlays=tuple(overlays),
        )

    @cached_property
    def records(self) -> list[Record]:
        """Its finished trainings, in the order of the board."""
        plan = self.plan(ROOT, RECORDS / self.name)
        known = known_records(plan, folders())
        return [known[arm] for arm in plan.arms if arm in known]

    @cached_property
    def patients(self) -> dict[str, str]:
        """Validation case -> patient."""
        cases = self.plan(ROOT, ROOT).manifest.cases(ROLE)
        return {case.case_id: case.patient for case in cases}

    def of(self, method: str) -> list[Record]:
        """The finished trainings of one method."""
        return [record for record in self.records if record.method == method]

    def dice(self, method: str) -> Values:
        """Seed -> case -> mean Dice of the classes, of the deployed network."""
        return values(self.of(method), ROLE, "dice")

    @cached_property
    def published(self) -> Board | None:
        """The board without the recipe, once its BCP is trained."""
        name = self.described["published"]
        board = boards()[name] if name else None
        return board if board and board.of(BASELINE) else None


def described() -> dict[str, Any]:
    """What `method_comparison.yaml` says."""
    found: dict[str, Any] = yaml.safe_load(BOARDS.read_text(encoding="utf-8"))
    return found


def boards() -> dict[str, Board]:
    """All boards, in their order."""
    return {name: Board(name, board) for name, board in described()["boards"].items()}


def folders() -> list[Path]:
    """Where records lie."""
    return sorted(path for path in RECORDS.iterdir() if path.is_dir())


def train(board: Board, plan: Plan, methods: Sequence[str], part: str) -> list[str]:
    """Train those of `methods` that have no record, and keep the records; returns what failed."""
    arms = [arm for arm in plan.arms if arm.method in methods]
    failures = run_missing(plan, shard(arms, part), folders())
    for record in known_records(plan).values():
        record.save(RECORDS / board.name)
    return failures


def page(board: Board) -> str:
    """The tables of a board as Markdown."""
    minutes = board.described["minutes"]
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(board.plan(ROOT, Path(folder)), minutes, folders())
        text = (Path(folder) / "report.md").read_text(encoding="utf-8")
    _, _, body = text.partition("\n")
    head = (
        f"# {board.described['title']}\n\nWritten by `python benchmarks/method_comparison.py --report`"
        f" from records of `--board {board.name}`; how to read it: "
        "[comparing methods](../../docs/comparing_methods.md).\n"
    )
    note = ["", board.described["note"]] if board.described["note"] else []
    shown = f"![Validation Dice over steps and minutes]({board.name}.svg)\n"
    return "\n".join([head.rstrip(), *note, body.rstrip(), *_against_published(board), "", shown])


def _against_published(board: Board) -> list[str]:
    """The table of every method, with the recipe, against BCP without it."""
    base = board.published
    if base is None:
        return []
    lines = [
        "",
        "## Against BCP as published",
        "",
        f"Every method of this page, with the recipe, against the BCP of [{base.name}]({base.name}.md),"
        " without it: the same split and student steps. Dice, paired by patient and seed; studentized"
        " bootstrap interval. *Same minutes*: the last validation of the method until the time that"
        " BCP took under the same seed, against the end of that BCP; mean ± SD over seeds.",
        "",
        "| method | seeds | difference | 95 % interval | SD over seeds | patients that gain | same minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(record.method for record in board.records):
        seeds = _shared_seeds(board, base, method)
        if seeds:
            found = compare(board.dice(method), base.dice(BASELINE), board.patients)
            cells = [*_difference(found), _same_minutes(board, base, method, seeds)]
            lines += [f"| {method} | {', '.join(map(str, seeds))} | " + " | ".join(cells) + " |"]
    return lines


def _shared_seeds(board: Board, base: Board, method: str) -> list[int]:
    return sorted(set(board.dice(method)) & set(base.dice(BASELINE)))


def _difference(found: Difference) -> list[str]:
    spread = f"{found.seed_sd:.3f}" if found.seeds > 1 else "–"
    return [f"{found.mean:+.3f}", _interval(found), spread, f"{found.better} of {found.patients}"]


def _interval(found: Difference) -> str:
    return f"{found.interval[0]:+.3f} to {found.interval[1]:+.3f}"


def _same_minutes(board: Board, base: Board, method: str, seeds: Sequence[int]) -> str:
    gains = []
    for seed in seeds:
        ours = next(record for record in board.of(method) if record.seed == seed)
        theirs = next(record for record in base.of(BASELINE) if record.seed == seed)
        gain = gain_in_the_same_minutes(ours, theirs)
        if gain is not None:
            gains.append(gain)
    spread = f" ± {stdev(gains):.3f}" if len(gains) > 1 else ""
    return f"{mean(gains):+.3f}{spread}" if gains else "–"


def measured(method: str) -> str:
    """What the page of a method says: a line for each board that has it."""
    lines = [
        "| data | seeds | student steps | Dice | HD95 mm | against the labels alone | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for board in boards().values():
        if board.of(method):
            summary = summarize(board.records, ROLE, board.patients)
            row = next(row for row in summary.rows if row.method == method)
            lines.append(_line(board, row))
    if len(lines) == 2:
        return "Not measured yet; see [benchmarks](../../benchmarks/README.md)."
    return "\n".join(
        [
            *lines,
            "",
            "Validation cases, last checkpoint, mean ± SD over seeds; the difference with its 95 % interval. The"
            " page of each table says whose minutes can be compared; millimetres of the heart are nominal.",
        ]
    )


def worth() -> str:
    """What the page of the recipe says: every method with it, against BCP as published."""
    lines = [
        "| data | what | seeds | Dice | HD95 mm | against BCP as published | in the minutes of BCP |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in described()["recipe_page"]:
        board = boards()[name]
        if board.published:
            lines += _worth(board, board.published)
    told = (
        "10 or 12 validation patients, last checkpoint, mean ± SD over seeds. The difference is paired by"
        " patient and seed, with its 95 % interval and, after ±, its SD over seeds."
    )
    return "\n".join([*lines, "", told])


def _worth(board: Board, base: Board) -> list[str]:
    link = f"[{board.described['title']}](../benchmarks/method_comparison/{board.name}.md)"
    published = summarize(base.records, ROLE, base.patients).rows
    lines = [[f"{row.method}, as published", *_scores(row), "–", "–"] for row in published]
    for row in summarize(board.records, ROLE, board.patients).rows:
        seeds = _shared_seeds(board, base, row.method)
        if not seeds:
            lines.append([f"**{row.method}, recipe**", *_scores(row), "–", "–"])
            continue
        found = compare(board.dice(row.method), base.dice(BASELINE), board.patients)
        spread = f" ± {found.seed_sd:.3f}" if found.seeds > 1 else ""
        against = f"{found.mean:+.3f} [{_interval(found)}]{spread}"
        minutes = _same_minutes(board, base, row.method, seeds)
        lines.append([f"**{row.method}, recipe**", *_scores(row), against, minutes])
    return [f"| {' | '.join([link if n == 0 else '', *cells])} |" for n, cells in enumerate(lines)]


def _scores(row: MethodRow) -> list[str]:
    dice, hd95 = row.scores["dice"], row.scores["hd95_mm"]
    spread = f" ± {dice.sd:.3f}" if len(row.seeds) > 1 else ""
    return [", ".join(map(str, row.seeds)), f"{dice.mean:.3f}{spread}", f"{hd95.mean:.1f}"]


def _line(board: Board, row: MethodRow) -> str:
    link = f"[{board.described['title']}](../../benchmarks/method_comparison/{board.name}.md)"
    seeds, dice, hd95 = _scores(row)
    found = row.difference
    against = "–" if found is None else f"{found.mean:+.3f} [{_interval(found)}]"
    steps, seconds = f"{row.steps.mean:.0f}", row.seconds.mean
    minutes = "–" if math.isnan(seconds) else f"{seconds / 60:.1f}"
    return f"| {' | '.join([link, seeds, steps, dice, hd95, against, minutes])} |"


def report() -> None:
    """Write the pages of all boards that have records, those of the methods and that of the recipe."""
    for board in boards().values():
        if board.records:
            (RECORDS / f"{board.name}.md").write_text(page(board), encoding="utf-8")
            (RECORDS / f"{board.name}.svg").write_bytes(draw_curves(board.records))
    for entry in METHODS:
        _write_section(PAGES / f"{entry.name}.md", measured(entry.name))
    _write_section(RECIPE_PAGE, worth())


def _write_section(document: Path, section: str) -> None:
    before = document.read_text(encoding="utf-8")
    document.write_text(with_section(before, BEGIN, END, section), encoding="utf-8")


def board_parser(description: str | None) -> argparse.ArgumentParser:
    """What every script asks that trains on a board."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--board", choices=list(boards()))
    parser.add_argument("--dataset", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--runs", type=Path, help="where trainings lie")
    parser.add_argument("--seeds", default="", help="by comma; those of the board by default")
    parser.add_argument("--report", action="store_true", help="only write the pages")
    return parser


def started(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with logs on and one thread per training; ends where a training lacks its folders."""
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not given.report and None in (given.board, given.dataset, given.runs):
        parser.error("--board, --dataset and --runs are needed to train; or give --report")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing of a board, or write the pages; 1 if a training failed."""
    parser = board_parser(__doc__)
    parser.add_argument(
        "--methods", default="", help="by comma; supervised and those of the board by default"
    )
    parser.add_argument("--shard", default="0/1", help="I/N: every N-th training, from I")
    given = started(parser, arguments)
    if given.report:
        report()
        return 0
    board = boards()[given.board]
    plan = board.plan(given.dataset, given.runs / board.name)
    if given.seeds:
        plan = replace(plan, seeds=tuple(map(int, given.seeds.split(","))))
    known = list(dict.fromkeys(arm.method for arm in plan.arms))
    methods = given.methods.split(",") if given.methods else known
    for method in methods:
        if method not in known:
            parser.error(
                f"the board {board.name} has no method {method}; it has {', '.join(known)}"
            )
    return 1 if train(board, plan, methods, given.shard) else 0


if __name__ == "__main__":
    sys.exit(main())
