"""The part of a document that a script writes, between two lines that mark it."""

from __future__ import annotations


def with_section(text: str, begin: str, end: str, section: str) -> str:
    """The text with a section between its two markers.

    Args:
        text: of the document.
        begin: the line before the section.
        end: the line after it.
        section: what stands between them now.

    Raises:
        ValueError: a marker is missing.
    """
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"write the lines '{begin}' and '{end}' where the table belongs.")
    return f"{before}{begin}\n\n{section.strip()}\n\n{end}{after}"
