"""report.html: one page for a folder of results, that needs no viewer, no network and no JavaScript.

It shows nothing that identifies a patient: no UIDs, dates, descriptions or paths. Every text is
escaped, and the policy in the page lets a browser load nothing and run nothing but its own script.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.prediction.codes import DISCLAIMER
from medsemi.prediction.earlier import REPORT
from medsemi.prediction.markup import Element, tag, to_html
from medsemi.prediction.report_cards import card, color_class, legend, overview
from medsemi.prediction.report_pictures import Strip, read_strips
from medsemi.prediction.report_records import STATUSES, Entry, read_entries, read_object
from medsemi.prediction.run_json import INTERRUPTED

# Characters of the whole page for up to 50 cases, and what a case may take beyond.
_MOST, _MOST_PER_CASE, _PAGE_ALONE = 3_000_000, 57_000, 100_000
# A single case gets no larger pictures than this.
_MOST_PICTURES = 200_000
_MANY = 300
# Parts of a run that are missing; run.json names all.
_MOST_NAMED = 10
_DIGITS = 16
_INTERRUPTED = (
    "The run was interrupted: cases may be missing. Run the same command again; what is done stays"
    " done."
)
# Code that stopped a run -> why, and what to do.
_STOPPED = {
    "E04": ("the disk is full", "Free some space and run the same command again"),
    "E10": ("the model cannot be run", "Run the same command again with a model that can"),
}


def write_report(out: Path) -> None:
    """Write report.html over all cases of an output folder.

    Args:
        out: the output folder, with `cases/*/case.json` (and volumes.json, structures.png beside)
            and run.json. Folders whose record cannot be read are named in the report.
    """
    entries, unreadable = read_entries(out)
    run = read_object(out / "run.json") or {}
    cards, strips = _cards(entries, _bundle(run, entries))
    style, script = (_part(name) for name in ("report.css", "report.js"))
    style += _printed_disclaimer() + "".join(sorted({_color_rule(strip.color) for strip in strips}))
    first, rest = DISCLAIMER.split(". ", 1)
    page = Template(_part("report_page.html")).substitute(
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        disclaimer=f"{first}.",
        disclaimer_rest=rest,
        model=to_html(_model(_bundle(run, entries), run)),
        notices=to_html(*_notices(entries, unreadable, run)),
        filter=to_html(_filter(entries)),
        count=str(len(entries)),
        overview=to_html(overview(entries)),
        cards=to_html(*cards),
        legend=to_html(legend(m.code for entry in entries for m in entry.messages)),
    )
    with write_atomically(out / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _part(name: str) -> str:
    return files("medsemi.prediction").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Of a style or script, as the Content Security Policy wants it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _cards(
    entries: Sequence[Entry], bundle: Mapping[str, Any]
) -> tuple[list[Element], list[Strip]]:
    """All cards with their pictures, and the pictures alone."""
    cards, shown = [], []
    fair = max(_MOST_PER_CASE, (_MOST - _PAGE_ALONE) // max(1, len(entries)))
    for number, entry in enumerate(entries):
        remark = _other_model(entry, bundle)
        strips: list[Strip] = []
        if entry.sheet and (len(entries) <= _MANY or entry.status == "warning"):
            text = len(to_html(card(number, entry, [], remark)))
            strips = read_strips(entry.sheet, min(_MOST_PICTURES, max(0, fair - text)))
        cards.append(card(number, entry, strips, remark))
        shown += strips
    return cards, shown


def _printed_disclaimer() -> str:
    """A rule that repeats the disclaimer on every printed page."""
    return f'@page{{@bottom-left{{content:"{DISCLAIMER}"}}}}\n'


def _color_rule(color: tuple[int, int, int]) -> str:
    return f".{color_class(color)}{{background:rgb{color}}}\n"


def _bundle(run: Mapping[str, Any], entries: Sequence[Entry]) -> Mapping[str, Any]:
    """The model of the run; where the run left no record, that of its first case."""
    bundle = run.get("bundle")
    if isinstance(bundle, Mapping):
        return bundle
    return next((entry.part("bundle") for entry in entries if entry.part("bundle")), {})


def _other_model(entry: Entry, bundle: Mapping[str, Any]) -> str:
    own = entry.part("bundle")
    if not own or own.get("sha256") == bundle.get("sha256"):
        return ""
    return (
        f"Made with another model: {own.get('name', '')} {own.get('version', '')},"
        f" digest {str(own.get('sha256', ''))[:_DIGITS]}."
    )


def _model(bundle: Mapping[str, Any], run: Mapping[str, Any]) -> Element:
    software = run.get("software")
    own = software.get("medsemi", "") if isinstance(software, Mapping) else ""
    facts = {
        "Model": str(bundle.get("name", "")),
        "Version": str(bundle.get("version", "")),
        "Digest": str(bundle.get("sha256", ""))[:_DIGITS],
        "Made by": f"medsemi {own}".strip(),
        "Run ended": _minute(str(run.get("end") or "")),
    }
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts.items() if text),
        class_="facts",
    )


def _minute(time: str) -> str:
    """A time of run.json, which is UTC, without its seconds."""
    return f"{time[:16].replace('T', ' ')} UTC" if time else ""


def _notices(
    entries: Sequence[Entry], unreadable: Sequence[str], run: Mapping[str, Any]
) -> list[Element]:
    """What a reader must not overlook."""
    texts = _missing(run)
    counts = Counter(entry.status for entry in entries)
    without = counts["failed"] + counts["refused"]
    if without:
        texts.append(
            f"No result for {without} of {len(entries)} cases: {counts['refused']} refused,"
            f" {counts['failed']} failed. They stand after the results, each with its reason."
        )
    if unreadable:
        texts.append(
            f"The record of {len(unreadable)} cases cannot be read; they are not shown:"
            f" {', '.join(unreadable)}. Run the same command again."
        )
    options = run.get("options")
    if isinstance(options, Mapping) and options.get("names") == "header":
        texts.append(
            "The names of the cases were taken from the headers and may identify patients."
        )
    if len(entries) > _MANY:
        texts.append(
            f"More than {_MANY} cases: pictures are shown for those with warnings only. All are in"
            " the folders beside this report."
        )
    return [tag("p", text, class_="notice", role="note") for text in texts]


def _missing(run: Mapping[str, Any]) -> list[str]:
    """Why cases may be missing."""
    texts = []
    if run.get("exit_code") == INTERRUPTED:
        texts.append(_INTERRUPTED)
    elif run.get("stopped_by") in _STOPPED:
        texts.append(_stopped(run))
    shards = run.get("shards")
    if isinstance(shards, Mapping) and shards.get("unfinished"):
        texts.append(_unfinished(shards))
    return texts


def _unfinished(shards: Mapping[str, Any]) -> str:
    numbers, count = shards["unfinished"], shards["count"]
    named = ", ".join(f"{number}/{count}" for number in numbers[:_MOST_NAMED])
    others = " and others" if len(numbers) > _MOST_NAMED else ""
    return (
        f"The run has not ended: {len(numbers)} of its {count} parts have left no result yet (--shard"
        f" {named}{others}), so that cases may be missing. Each part that ends writes this report"
        " anew; start again those that are no longer at work. What is done stays done."
    )


def _stopped(run: Mapping[str, Any]) -> str:
    code, known = run["stopped_by"], run.get("cases", 0)
    why, advice = _STOPPED[code]
    missing = known - sum(run.get("counts", {}).get("outcome", {}).values())
    verb = "is" if missing == 1 else "are"
    return (
        f"The run stopped because {why} ({code}): {missing} of {known} cases {verb} missing. {advice};"
        " what is done stays done."
    )


def _filter(entries: Sequence[Entry]) -> Element:
    counts = Counter(entry.status for entry in entries)
    choices = {"all": ("All", len(entries))}
    choices |= {status: (words, counts[status]) for status, words in STATUSES.items()}
    return tag(
        "fieldset",
        tag("legend", "Show"),
        *(_choice(value, *choice) for value, choice in choices.items()),
    )


def _choice(value: str, words: str, count: int) -> Element:
    checked = {"checked": "checked"} if value == "all" else {}
    return tag(
        "label",
        tag("input", type="radio", name="show", value=value, id=f"show-{value}", **checked),
        tag("span", tag("b", str(count)), " ", words, class_=f"choice {value}"),
        class_="option",
    )
