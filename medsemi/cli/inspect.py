"""`medsemi inspect`: what a folder holds, what would be predicted, and why the rest would not.

Reads headers only and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medsemi.cli.arguments import place
from medsemi.prediction.codes import Finding, no_images
from medsemi.prediction.options import Options

if TYPE_CHECKING:
    # The commands of all programs together, as argparse types them.
    from argparse import _SubParsersAction as SubParsers

    from medsemi.prediction.case import Case
    from medsemi.prediction.discovery.scan import Scan
    from medsemi.prediction.model import Model

SCHEMA = "medsemi.inspect/1"
EXAMPLES = """\
examples:
  medsemi inspect scans
  medsemi inspect scans --model models/left_atrium
  medsemi inspect scans --json > scans.json
"""
# Wider than any table: what is piped is not folded.
PIPED_WIDTH = 10_000
# Ignored files of one code that the table tells; --json has all.
MOST_NAMED = 5
_STYLES = {"predict": "green", "skip": "dim", "refuse": "yellow"}


def add_parser(commands: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `medsemi`."""
    parser = commands.add_parser(
        "inspect",
        help="Show what folders and files hold, and what predict would do.",
        description="Show what folders and files hold, and what predict would do with it. Reads"
        " headers only and writes nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Options()
    add = parser.add_argument
    add(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=place,
        help="Folders, which are searched, or files.",
    )
    add("--json", action="store_true", help="Print one JSON document instead of a table.")
    add("--model", metavar="BUNDLE", type=place, help="Also tell what does not fit this model.")
    add(
        "--series",
        default=usual.series,
        metavar="WHICH",
        help="Which series, as predict takes them: auto, all, a case as shown here, CASE#VOLUME,"
        " a UID, UID#VOLUME, or part of a description; default auto.",
    )
    add("--gaps", choices=("refuse", "fill"), default=usual.gaps, help="As for predict.")
    add("--tilt", choices=("resample", "refuse"), default=usual.tilt, help="As for predict.")
    add(
        "--names",
        choices=("auto", "hash", "path", "header"),
        default=usual.names,
        help="How cases are named, as for predict; header may reveal patients.",
    )
    add("--strict", action="store_true", help="As for predict: warnings become refusals.")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Scan and print.

    Args:
        arguments: as `add_parser` parses them.

    Returns:
        The exit code, 0.

    Raises:
        RunStopped: E10, E12 or E13, exit code 1.
    """
    from medsemi.prediction.discovery.scan import discover
    from medsemi.prediction.model import load_model

    model = None if arguments.model is None else load_model(arguments.model)
    options = Options(
        series=arguments.series,
        gaps=arguments.gaps,
        tilt=arguments.tilt,
        names=arguments.names,
        strict=arguments.strict,
    )
    with _progress() as progress:
        scan = discover(arguments.inputs, options, model, progress)
    if not scan.files:
        raise no_images(arguments.inputs)
    if arguments.json:
        print(json.dumps(document(scan, model), indent=1, allow_nan=False))
    else:
        _print_table(scan)
    return 0


def document(scan: Scan, model: Model | None = None) -> dict[str, Any]:
    """The result as plain values, without what identifies a patient except paths.

    Args:
        scan: of some folders and files.
        model: that they were compared with.
    """
    return {
        "schema": SCHEMA,
        "model": None if model is None else {"name": model.name, "version": model.version},
        "files": scan.files,
        "totals": totals(scan),
        "cases": [_case(case) for case in scan.cases],
        "ignored": [
            {"name": name, "code": finding.code, "text": finding.text}
            for name, finding in scan.ignored
        ],
    }


def totals(scan: Scan) -> dict[str, int]:
    """How many cases there are of each outcome, and how many files are ignored."""
    counts = Counter(case.outcome for case in scan.cases)
    return {
        **{outcome: counts[outcome] for outcome in ("predict", "skip", "refuse")},
        "ignored_files": len(scan.ignored),
    }


def _case(case: Case) -> dict[str, Any]:
    grid = case.grid
    return {
        "case_id": case.case_id,
        "class": case.category,
        "flags": list(case.flags),
        "outcome": case.outcome,
        "codes": [
            {"code": finding.code, "text": finding.text, "values": dict(finding.values)}
            for finding in case.findings
        ],
        "modality": case.source.modality,
        "geometry": dict(case.geometry),
        "grid": grid and {"shape": list(grid.shape), "affine_lps": grid.affine.tolist()},
        "source": {
            "kind": case.source.kind,
            "name": case.source.name,
            "files": case.source.files,
            "volume": case.source.volume,
            "volume_key": case.source.volume_key,
        },
    }


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Tells on a terminal how many files have been looked at."""
    from medsemi.cli.screen import Screen

    with Screen(file=sys.stderr).status("looking at files") as status:
        yield lambda count: status.update(f"looking at files: {count}")


def _print_table(scan: Scan) -> None:
    from rich.text import Text

    from medsemi.cli.screen import Screen

    width = None if sys.stdout.isatty() else PIPED_WIDTH
    screen = Screen(highlight=False, emoji=False, width=width)
    if scan.cases:
        screen.print(_table(scan.cases))
    for case in scan.cases:
        for finding in case.findings:
            screen.print(Text(printable(f"{case.case_id} {finding}")))
    counts = totals(scan)
    screen.print(
        f"{len(scan.cases)} cases in {scan.files} files: {counts['predict']} would be predicted,"
        f" {counts['skip']} skipped, {counts['refuse']} refused; {counts['ignored_files']} files"
        " ignored."
    )
    for code in sorted({finding.code for _, finding in scan.ignored}):
        names = [name for name, finding in scan.ignored if finding.code == code]
        more = ", ..." if len(names) > MOST_NAMED else ""
        line = f"{Finding(code)} {', '.join(names[:MOST_NAMED])}{more}"
        screen.print(Text(printable(line)))


def _table(cases: Sequence[Case]) -> Any:  # noqa: ANN401  (rich is imported late)
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("case", "class", "modality", "matrix"):
        table.add_column(heading, overflow="fold")
    table.add_column("slices", justify="right")
    for heading in ("spacing mm", "predict would", "codes", "first file"):
        table.add_column(heading, overflow="fold")
    for case in cases:
        style = _STYLES[case.outcome]
        cells = [printable(cell) for cell in row(case)]
        table.add_row(*(Text(cell, style if i == 6 else "") for i, cell in enumerate(cells)))
    return table


def row(case: Case) -> tuple[str, ...]:
    """What the table says of a case: one text for each column."""
    facts = case.geometry
    spacing = [*facts.get("pixel_spacing", ()), *([facts["spacing"]] if "spacing" in facts else ())]
    flags = [flag for flag in case.flags if flag != case.category]
    return (
        case.case_id,
        " ".join([case.category, *(f"+{flag}" for flag in flags)]),
        case.source.modality or "-",
        "×".join(str(size) for size in facts.get("matrix", ())) or "-",
        str(facts.get("positions", "-")),
        " × ".join(f"{length:.3g}" for length in spacing) or "-",
        case.outcome,
        " ".join(case.codes) or "-",
        case.source.name,
    )


def printable(text: str) -> str:
    """A text of a file or header without what would move the cursor or break an encoding."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
