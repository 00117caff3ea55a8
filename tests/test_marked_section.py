"""A script writes between two markers, and nowhere else."""

from __future__ import annotations

import pytest

from medsemi.marked_section import with_section


def test_what_stood_between_the_markers_is_replaced_and_nothing_else() -> None:
    text = "before\n<b>\nyesterday\n<e>\nafter\n"
    once = with_section(text, "<b>", "<e>", "today\n")
    assert once == "before\n<b>\n\ntoday\n\n<e>\nafter\n"
    assert with_section(once, "<b>", "<e>", "today") == once


@pytest.mark.parametrize("text", ["# A page\n", "<b>\n", "<e>\n", "<e>\n<b>\n"])
def test_a_document_without_both_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="where the table belongs"):
        with_section(text, "<b>", "<e>", "today")
