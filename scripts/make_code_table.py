"""Write the table of codes into a document, between its two markers.

python scripts/make_code_table.py docs/clinical_use.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from medsemi.marked_section import with_section
from medsemi.prediction.codes import CODES

BEGIN = "<!-- codes: begin, written by scripts/make_code_table.py -->"
END = "<!-- codes: end -->"
GROUPS = {
    "S": "Skipped: the program left this alone",
    "R": "Refused: a result would be unsafe",
    "U": "Unreadable",
    "W": "Warning: there is a result, but look at it with this in mind",
    "E": "Failed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the table was written, 1 when the markers are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("document", type=Path, help="Markdown with the two markers")
    document = parser.parse_args(arguments).document
    try:
        text = with_table(document.read_text(encoding="utf-8"))
    except ValueError as error:
        print(f"{document.name}: {error}", file=sys.stderr)
        return 1
    document.write_text(text, encoding="utf-8")
    return 0


def with_table(text: str) -> str:
    """The text with the table of today between its markers.

    Args:
        text: Markdown with the two markers.

    Raises:
        ValueError: a marker is missing.
    """
    return with_section(text, BEGIN, END, table())


def table() -> str:
    """All codes with their sentences and advice, as Markdown; `…` is where a value stands."""
    lines = []
    for letter, heading in GROUPS.items():
        lines += [f"**{heading}**", "", "| code | meaning | what to do |", "| --- | --- | --- |"]
        for code, text in CODES.items():
            if code.startswith(letter):
                sentence, advice = text.general
                lines.append(f"| {code} | {sentence} | {advice or '–'} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
