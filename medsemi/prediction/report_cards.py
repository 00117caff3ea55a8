"""The parts of the report: overview, a card for each case, the codes that occur."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from medsemi.prediction.codes import CODES
from medsemi.prediction.markup import Element, tag
from medsemi.prediction.report_pictures import Strip
from medsemi.prediction.report_records import STATUSES, Entry, Message

_KINDS = {"dicom": "DICOM", "nifti": "NIfTI", "nrrd": "NRRD", "mha": "MHA"}
_SIDES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "top", "I": "bottom"}
_HEADINGS = {"done": "", "warning": "Check", "skipped": "Why it was skipped"}
# Files that a reader opens, in the order in which they are offered.
_FILES = {
    "preview.png": "larger picture",
    "seg.dcm": "DICOM segmentation",
    "segmap.dcm": "DICOM label map",
    "seg.nii.gz": "NIfTI segmentation",
    "seg_orthogonal.nii.gz": "straightened segmentation",
    "volumes.csv": "volumes as a table",
}
_LONG_TABLE = 12


def overview(entries: Sequence[Entry]) -> Element:
    """A table with a line for each case.

    Args:
        entries: in the order of the report.
    """
    head = ("Case", "Status", "Lowest agreement", "Codes")
    rows = [_overview_row(number, entry) for number, entry in enumerate(entries)]
    return tag(
        "table",
        tag("caption", "All cases, in the order of this report"),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))),
        tag("tbody", *rows),
        class_="overview",
    )


def _overview_row(number: int, entry: Entry) -> Element:
    lowest = entry.lowest_agreement
    return tag(
        "tr",
        tag("th", tag("a", entry.case_id, href=f"#case-{number}"), scope="row"),
        tag("td", _badge(entry.status)),
        tag("td", "–" if lowest is None else f"{lowest:.2f}", class_="number"),
        tag("td", ", ".join(dict.fromkeys(message.code for message in entry.messages)) or "–"),
        data_status=entry.status,
        data_text=_searched(entry),
    )


def card(number: int, entry: Entry, strips: Sequence[Strip], remark: str = "") -> Element:
    """The card of a case.

    Args:
        number: place in the report, from 0.
        entry: the case.
        strips: its pictures.
        remark: one more sentence; empty for none.
    """
    heading = f"heading-{number}"
    return tag(
        "article",
        tag("header", tag("h3", entry.case_id, id=heading), _badge(entry.status)),
        _facts(entry),
        tag("p", remark, class_="remark") if remark else None,
        _messages(entry),
        tag("div", _figures(entry, strips), _volumes(entry), class_="result"),
        _files(entry),
        tag("p", tag("a", "Back to all cases", href="#overview"), class_="back"),
        id=f"case-{number}",
        class_="card",
        aria_labelledby=heading,
        data_status=entry.status,
        data_text=_searched(entry),
    )


def legend(codes: Iterable[str]) -> Element:
    """What the codes mean, for any case.

    Args:
        codes: those that occur; without any, a sentence says so.
    """
    rows = []
    for code in sorted(set(codes) & set(CODES)):
        sentence, advice = CODES[code].general
        rows.append(
            tag("tr", tag("th", code, scope="row"), tag("td", sentence), tag("td", advice or "–"))
        )
    if not rows:
        return tag("p", "No code occurs in this report.")
    head = ("Code", "Meaning", "What to do")
    return tag(
        "table",
        tag("caption", "Codes that occur in this report"),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))),
        tag("tbody", *rows),
    )


def _badge(status: str) -> Element:
    return tag("span", STATUSES[status], class_=f"badge {status}")


def _searched(entry: Entry) -> str:
    """What the search looks at."""
    codes = " ".join(message.code for message in entry.messages)
    names = " ".join(str(volume.get("name", "")) for volume in entry.volumes)
    return f"{entry.case_id} {STATUSES[entry.status]} {codes} {names}".lower()


def _facts(entry: Entry) -> Element | None:
    source = entry.part("source")
    kind = _KINDS.get(str(source.get("kind", "")), "")
    facts = {
        "Image": " ".join(filter(None, (str(source.get("modality") or ""), kind))),
        "Size": _size(source),
        "Patient position": str(source.get("patient_position") or ""),
        "Gantry tilt": _degrees(source.get("tilt_deg")),
    }
    parts = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items() if value
    ]
    return tag("dl", *parts, class_="facts") if parts else None


def _size(source: Mapping[str, Any]) -> str:
    matrix, slices, spacing = (source.get(key) for key in ("matrix", "slices", "spacing_mm"))
    parts = []
    if matrix and slices:
        parts.append(f"{' × '.join(str(n) for n in matrix)} pixels, {slices} slices")
    if spacing and None not in spacing:
        parts.append(f"{' × '.join(f'{mm:.2f}' for mm in spacing)} mm")
    return "; ".join(parts)


def _degrees(tilt: float | None) -> str:
    return f"{tilt:.1f}°" if tilt and abs(tilt) > 0.5 else ""


def _messages(entry: Entry) -> Element | None:
    if not entry.messages:
        return None
    told: dict[tuple[str, str], list[str]] = {}
    for message in entry.messages:
        sentence, advice = _parted(message)
        told.setdefault((message.code, advice), []).append(sentence)
    items = [_message(code, advice, sentences) for (code, advice), sentences in told.items()]
    return tag(
        "section",
        tag("h4", _HEADINGS.get(entry.status) or "Why there is no result"),
        tag("ul", *items),
        class_=f"messages {entry.status}",
    )


def _message(code: str, advice: str, sentences: Sequence[str]) -> Element:
    """Everything that one code says, and once what to do."""
    lines = [tag("span", sentence, class_="sentence") for sentence in sentences]
    todo = tag("span", tag("strong", "What to do: "), advice, class_="todo") if advice else None
    return tag("li", tag("a", code, href="#codes", class_="code"), tag("div", *lines, todo))


def _parted(message: Message) -> tuple[str, str]:
    """The sentence, and what to do next."""
    known = CODES.get(message.code)
    try:
        advice = known.advice.format_map(message.values) if known else ""
    except (KeyError, ValueError):
        advice = ""
    if not message.text.endswith(advice):
        advice = ""
    return message.text.removesuffix(advice).strip(), advice


def _figures(entry: Entry, strips: Sequence[Strip]) -> Element | None:
    if not strips:
        return None
    figures = [_figure(entry, strip) for strip in strips]
    found = sum(float(volume.get("volume_ml") or 0) > 0 for volume in entry.volumes)
    note = None
    if found > len(strips):
        note = tag(
            "p",
            f"Pictures of {len(strips)} of {found} structures: lowest agreement, then largest.",
            class_="note",
        )
    return tag("div", *figures, note, class_="figures")


def _figure(entry: Entry, strip: Strip) -> Element:
    name = strip.name or "the middle of the volume"
    alt = f"Case {entry.case_id}: axial, coronal and sagittal plane through {name}." + (
        " The outline of the structure is drawn." if strip.name else " Nothing is outlined."
    )
    picture = tag(
        "img",
        src=strip.uri,
        alt=alt,
        width=str(strip.width),
        height=str(strip.height),
        decoding="async",
    )
    caption = tag("figcaption", _swatch(strip), strip.name or "Nothing was found")
    return tag("figure", picture, caption)


def _swatch(strip: Strip) -> Element | None:
    if not strip.name:
        return None
    return tag("span", class_=f"swatch {color_class(strip.color)}", aria_hidden="true")


def color_class(color: tuple[int, int, int]) -> str:
    """The class of a color in the style of the page.

    Args:
        color: red, green, blue.
    """
    return "c{:02x}{:02x}{:02x}".format(*color)


def _volumes(entry: Entry) -> Element | None:
    if not entry.volumes:
        return None
    agreement, columns = entry.agreement, ["Structure", "Volume (ml)"]
    if agreement:
        columns.append("Agreement")
    found = [volume for volume in entry.volumes if float(volume.get("volume_ml") or 0) > 0]
    empty = [str(volume.get("name", "")) for volume in entry.volumes if volume not in found]
    low = {str(m.values.get("label")) for m in entry.messages if m.code == "W08"}
    rows = [_volume_row(volume, agreement, low) for volume in found]
    table = tag(
        "table",
        tag("caption", "Volumes"),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in (*columns, "Notes")))),
        tag("tbody", *rows),
    )
    if len(rows) > _LONG_TABLE:
        table = tag("details", tag("summary", f"Volumes of {len(rows)} structures"), table)
    missing = tag("p", f"Not found: {', '.join(empty)}.", class_="note") if empty else None
    return tag("div", table if rows else None, missing, class_="volumes")


def _volume_row(
    volume: Mapping[str, Any], agreement: Mapping[str, float], low: set[str]
) -> Element:
    name = str(volume.get("name", ""))
    cells = [tag("td", _milliliters(float(volume.get("volume_ml") or 0)), class_="number")]
    if agreement:
        dice = agreement.get(name)
        text = "–" if dice is None else f"{dice:.2f}" + (" low" if name in low else "")
        cells.append(tag("td", text, class_="number low" if name in low else "number"))
    return tag("tr", tag("th", name, scope="row"), *cells, tag("td", _notes(volume) or "–"))


def _milliliters(volume: float) -> str:
    """Three digits that count, without an exponent."""
    decimals = 0 if volume >= 100 else 1 if volume >= 10 else 2 if volume >= 1 else 3
    return f"{volume:.{decimals}f}"


def _notes(volume: Mapping[str, Any]) -> str:
    notes = []
    sides = [_SIDES[side] for side in volume.get("touches_border") or "" if side in _SIDES]
    if sides:
        notes.append(f"touches the image border ({', '.join(sides)})")
    interpolated = float(volume.get("interpolated_ml") or 0)
    if interpolated > 0:
        notes.append(f"{_milliliters(interpolated)} ml lie on interpolated slices")
    parts = int(volume.get("components") or 0)
    if parts > 1:
        largest = _milliliters(float(volume.get("largest_component_ml") or 0))
        notes.append(f"{parts} parts, the largest {largest} ml")
    return "; ".join(notes)


def _files(entry: Entry) -> Element | None:
    written = {str(output.get("file")) for output in entry.record.get("outputs", [])}
    links: list[str | Element] = []
    for name, words in _FILES.items():
        if name in written:
            href = f"cases/{quote(entry.case_id)}/{name}"
            links += [", " if links else "Files beside this report: ", tag("a", words, href=href)]
    return tag("p", *links, ".", class_="files") if links else None
