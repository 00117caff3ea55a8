"""Write the table of methods into a document, between its two markers.

python scripts/make_method_index.py docs/methods/README.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from medsemi.marked_section import with_section
from medsemi.methods.registry import METHODS, MethodEntry

BEGIN = "<!-- methods: begin, written by scripts/make_method_index.py -->"
END = "<!-- methods: end -->"
HEAD = "| method | what it does | paper | cost | windows | needs |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the table was written, 1 when the markers are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("document", type=Path, help="Markdown with the two markers")
    document = parser.parse_args(arguments).document
    try:
        text = with_table(document.read_text(encoding="utf-8"), document.parent)
    except ValueError as error:
        print(f"{document.name}: {error}", file=sys.stderr)
        return 1
    document.write_text(text, encoding="utf-8")
    return 0


def with_table(text: str, folder: Path) -> str:
    """The text with the table of today between its markers.

    Args:
        text: Markdown with the two markers.
        folder: of the pages.

    Raises:
        ValueError: a marker is missing.
    """
    rows = [HEAD, "| --- " * HEAD.count(" |") + "|", *(row(entry, folder) for entry in METHODS)]
    return with_section(text, BEGIN, END, "\n".join(rows))


def row(entry: MethodEntry, folder: Path) -> str:
    """The line of one method, with a link to its page where there is one.

    Args:
        entry: the method.
        folder: of the pages.
    """
    page = f"{entry.name}.md"
    name = f"[{entry.name}]({page})" if (folder / page).exists() else entry.name
    windows = ", ".join(f"{axes}D" for axes in entry.dims)
    needs = [f"`{need}`" for need in entry.needs]
    needs += [f"`{steps}` ({share:.0%})" for steps, share in entry.step_shares.items()]
    cells = [name, entry.summary, entry.paper or "–", f"{entry.cost:.2f}", windows]
    return f"| {' | '.join([*cells, ', '.join(needs) or '–'])} |"


if __name__ == "__main__":
    sys.exit(main())
