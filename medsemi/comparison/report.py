"""`report.md` and `report.html`: the same tables, the page with curves and pictures."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medsemi.atomic import write_atomically
from medsemi.comparison.curves import draw_curves
from medsemi.comparison.equal_time import TimeRow
from medsemi.comparison.looks import Look
from medsemi.comparison.records import Record
from medsemi.comparison.summary import MethodRow, NetworkRow, Spread, Summary, probability

NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        title: above it.
        note: what its numbers are.
        columns: headings.
        rows: cells; the first one names the row.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What is told.

    Attributes:
        title: of the page.
        facts: name -> value, above the tables.
        verdicts: method -> whether the unlabeled data helped.
        tables: in order.
        pictures: method and seed -> best, median, worst -> PNG.
        curves: SVG; empty without records.
        missing: arms without scores.
        looks: at the test list.
    """

    title: str
    facts: Mapping[str, str]
    verdicts: Mapping[str, str]
    tables: Sequence[Table]
    pictures: Mapping[str, Mapping[str, bytes]]
    curves: bytes
    missing: Sequence[str]
    looks: Sequence[Look]


def make_report(
    title: str,
    facts: Mapping[str, str],
    summary: Summary,
    records: Sequence[Record],
    equal_time: tuple[float, Sequence[TimeRow]],
    pictures: Mapping[str, Mapping[str, bytes]],
    missing: Sequence[str],
    looks: Sequence[Look],
) -> Report:
    """Put what was found into tables.

    Args:
        title: of the page.
        facts: name -> value.
        summary: of the scores.
        records: that it was made from.
        equal_time: seconds, and the methods after that time.
        pictures: method and seed -> best, median, worst -> PNG.
        missing: arms without scores.
        looks: at the test list.
    """
    tables = [scores_table(summary), differences_table(summary)]
    if summary.classes:
        tables.append(networks_table("By class", "Deployed networks.", "class", summary.classes))
    if equal_time[0] > 0:  # else no time is known
        tables.append(time_table(*equal_time))
    if summary.others:
        note = "Networks that a method trains and does not deploy; no choice was made on them."
        tables.append(networks_table("Other networks", note, "network", summary.others))
    return Report(
        title,
        facts,
        {row.method: row.verdict for row in summary.rows},
        [table for table in tables if table.rows],
        pictures,
        draw_curves(records) if records else b"",
        missing,
        looks,
    )


def scores_table(summary: Summary) -> Table:
    """Scores at equal student steps."""
    note = (
        f"Patients: {summary.patients}, cases: {summary.cases}; last checkpoint, nothing chosen on"
        " them. A seed's score is the mean over patients; ± is the standard deviation over seeds."
        " Distances in mm; those of a missed structure are the diagonal of the image. Missed: such"
        " structures, of all cases. Minutes are those of the steps alone."
    )
    columns = (
        "method", "network", "seeds", "Dice", "Jaccard", "HD95 mm", "ASSD mm", "missed", "student steps",
        "minutes", "peak memory MiB",
    )  # fmt: skip
    return Table("At equal student steps", note, columns, tuple(map(_scores, summary.rows)))


def differences_table(summary: Summary) -> Table:
    """Differences to the twin, with their uncertainty."""
    note = (
        "Dice minus that of the supervised twin, paired by patient and seed. Interval: studentized"
        " bootstrap over patients and, inside them, seeds; Student's t beside it. p: two-sided"
        " sign-flip permutation test, and after Holm's correction for all methods shown. Best: share"
        " of resamples in which the method has the highest mean of all; ranks: their 95 % interval."
    )
    columns = (
        "method", "difference", "95 % interval", "Student's t", "p", "p (Holm)", "patients that gain",
        "SD over seeds", "best", "ranks",
    )  # fmt: skip
    rows = tuple(_difference(row) for row in summary.rows)
    return Table("Against the supervised twin", note, columns, rows)


def networks_table(title: str, note: str, what: str, networks: Sequence[NetworkRow]) -> Table:
    """Scores of networks or classes."""
    rows = tuple(
        (row.method, row.structure or row.network, *_metrics(row.scores)) for row in networks
    )
    return Table(title, note, ("method", what, "Dice", "Jaccard", "HD95 mm", "ASSD mm"), rows)


def time_table(seconds: float, rows: Sequence[TimeRow]) -> Table:
    """Validation at equal wall-clock."""
    note = (
        f"After {seconds / 60:.2f} minutes of training, read off from the validation curves of the"
        " same trainings (last validation until then; mean over validation cases). Learning rates"
        " were planned for the full length, which is to the disadvantage of costly steps. A training"
        " that had ended by then counts with its end, as its minutes show. Differences are taken"
        " between trainings of one machine."
    )
    untimed = [f"{row.untimed} of {row.method}" for row in rows if row.untimed]
    if untimed:
        note += f" Left out are {', '.join(untimed)}: their time cannot be told, see val_interval."
    cells = tuple(
        (row.method, str(row.seeds), _spread(_minutes(row.seconds), 2), _spread(row.steps, 0),
         _spread(row.dice, 3), _spread(row.difference, 3, sign=True))
        for row in rows
    )  # fmt: skip
    columns = (
        "method",
        "number of seeds",
        "minutes",
        "student steps",
        "validation Dice",
        "difference to the twin",
    )
    return Table("At equal wall-clock", note, columns, cells)


def to_markdown(report: Report) -> str:
    """The report as Markdown, without curves and pictures."""
    lines = [f"# {report.title}", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts.items()]
    lines += ["", "## Did the unlabeled data help?", ""]
    lines += [f"- **{method}**: {words}" for method, words in report.verdicts.items()]
    for table in report.tables:
        lines += ["", f"## {table.title}", "", table.note, ""]
        lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    lines += ["", "## Looks at the test list", ""]
    lines += [f"- {look.words}" for look in report.looks] or ["None."]
    if report.missing:
        missing = ", ".join(report.missing)
        lines += ["", f"Not finished: {missing}. The same command continues them."]
    return "\n".join(lines) + "\n"


def to_html(report: Report) -> str:
    """The report as one page that needs no other file."""
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined
    )
    style = (here / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report_page.html").render(
        report=report, style=style, data=_data_address
    )


def write_report(report: Report, folder: Path) -> None:
    """Write `report.md` and `report.html`, each whole or not at all."""
    for name, text in (("report.md", to_markdown(report)), ("report.html", to_html(report))):
        with write_atomically(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _data_address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _scores(row: MethodRow) -> tuple[str, ...]:
    return (
        row.method,
        row.network,
        ", ".join(map(str, row.seeds)),
        *_metrics(row.scores),
        _missed(row.missed),
        _spread(row.steps, 0),
        _spread(_minutes(row.seconds), 2),
        _spread(row.memory_mib, 0),
    )


def _difference(row: MethodRow) -> tuple[str, ...]:
    ranking = row.ranking
    best = NONE if ranking is None else f"{100 * ranking.best:.0f} %"
    ranks = NONE if ranking is None else " to ".join(map(str, dict.fromkeys(ranking.ranks)))
    if row.difference is None:
        return (row.method, *[NONE] * 7, best, ranks)
    found = row.difference
    return (
        row.method,
        f"{found.mean:+.3f}",
        _interval(found.interval),
        _interval(found.student),
        probability(found.p),
        probability(row.p),
        f"{found.better} of {found.patients}",
        NONE if math.isnan(found.seed_sd) else f"{found.seed_sd:.3f}",
        best,
        ranks,
    )


def _metrics(scores: Mapping[str, Spread]) -> list[str]:
    digits = {"dice": 3, "jaccard": 3, "hd95_mm": 1, "assd_mm": 2}
    return [_spread(scores[name], places) for name, places in digits.items()]


def _minutes(seconds: Spread) -> Spread:
    return Spread(seconds.mean / 60, seconds.sd / 60)


def _missed(spread: Spread) -> str:
    """A mean over seeds need not be whole: one in three seeds is not none."""
    return _spread(spread, 0 if spread.sd == 0 or math.isnan(spread.sd) else 1)


def _interval(ends: tuple[float, float]) -> str:
    return NONE if math.isnan(ends[0]) else f"{ends[0]:+.3f} to {ends[1]:+.3f}"


def _spread(spread: Spread, digits: int, *, sign: bool = False) -> str:
    if math.isnan(spread.mean):
        return NONE
    shown = f"{spread.mean:+.{digits}f}" if sign else f"{spread.mean:.{digits}f}"
    # Steps are the same for all seeds.
    return (
        shown
        if math.isnan(spread.sd) or not (spread.sd or digits)
        else (f"{shown} ± {spread.sd:.{digits}f}")
    )
